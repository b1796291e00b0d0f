"""``runner secrets``: the operator's side of the names that workflows have for secrets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runner.cli.output import print_json, print_table
from runner.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from runner.app import App

_MODES = ("staging", "production")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    acts = parser.add_subparsers(
        dest="act", required=True, metavar="set|bind|unbind|list|leases|rotate|revoke"
    )
    for act, what in (
        ("set", "read a value from stdin into the encrypted store"),
        ("rotate", "read a new value from stdin, and say who used the old one"),
    ):
        setting = acts.add_parser(act, help=what)
        setting.add_argument("name", metavar="NAME")
        setting.add_argument("--mode", choices=_MODES, default="staging")
        setting.add_argument("--json", action="store_true")
    _configure_bind(acts.add_parser("bind", help="say where a name's value comes from, and who may have it"))
    unbinding = acts.add_parser("unbind", help="forget what was said of a name")
    unbinding.add_argument("name", metavar="NAME")
    unbinding.add_argument("--mode", choices=_MODES, help="only in this mode")
    for act, what in (
        ("list", "names, sources, who may have them, and what is overdue; never values"),
        ("leases", "what sources made for runs and did not take back yet"),
    ):
        acts.add_parser(act, help=what).add_argument("--json", action="store_true")
    _configure_revoke(acts.add_parser("revoke", help="take a secret away, from running steps too"))


def _configure_bind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    source = "SOURCE:REFERENCE[#FIELD]"
    parser.add_argument("--from", dest="source", metavar=source, required=True, help="as in env:VAR, store:K")
    parser.add_argument("--mode", choices=_MODES, default="staging")
    for option, what in (
        ("--workflow", "only this workflow may have it"),
        ("--definition", "only a workflow with this definition digest may have it"),
        ("--host", "the proxy sends it to this host only"),
        ("--method", "and with this HTTP method only"),
        ("--path", "and to paths like this only"),
    ):
        text = f"{what}; may be repeated"
        parser.add_argument(option, metavar=option[2:].upper(), action="append", default=[], help=text)
    parser.add_argument("--header", metavar="LINE", default="", help="as in 'Authorization: Bearer {}'")
    parser.add_argument("--ttl", metavar="TIME", help="the longest life of a lease, as in 10m")
    parser.add_argument("--rotate-after", metavar="TIME", help="a value of this age is overdue, as in 90d")


def _configure_revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    parser.add_argument("--workflow", metavar="W", default="", help="all that this workflow may have")
    parser.add_argument("--all", action="store_true", help="all there is")
    parser.add_argument("--mode", choices=_MODES, default="", help="only in this mode")
    parser.add_argument("--json", action="store_true")


def main(args: argparse.Namespace) -> int:
    """Do one act."""
    from runner.app import App

    acts: dict[str, Callable[[App, argparse.Namespace], int]] = {
        "set": _set,
        "bind": _bind,
        "unbind": _unbind,
        "list": _list,
        "leases": _leases,
        "rotate": _rotate,
        "revoke": _revoke,
    }
    return acts[args.act](App.from_environment(), args)


def _value(args: argparse.Namespace) -> bytes:
    from runner.vault.secret import without_newline

    value = without_newline(sys.stdin.buffer.read())
    if not value:
        raise UsageError(
            "the value is empty",
            cure=f"give it on standard input: runner secrets {args.act} {args.name} < FILE",
        )
    return value


def _set(app: App, args: argparse.Namespace) -> int:
    version = app.secret_store().set(args.name, _value(args), args.mode)
    if args.json:
        print_json({"name": args.name, "mode": args.mode, "version": version})
    return 0


def _bind(app: App, args: argparse.Namespace) -> int:
    from runner.vault.binding import Binding, Terms

    terms = Terms(tuple(args.host), args.header, tuple(args.method), tuple(args.path))
    binding = Binding(
        args.name,
        args.source,
        args.mode,
        workflows=tuple(args.workflow),
        definitions=tuple(args.definition),
        ttl=_seconds("--ttl", args.ttl),
        rotate_after=_seconds("--rotate-after", args.rotate_after),
        terms=terms,
    )
    app.bindings().bind(binding)
    return 0


def _seconds(option: str, text: str | None) -> float | None:
    from runner.units import parse_duration

    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    if not seconds:
        raise UsageError(f"{option}: 0 is no time", cure="leave the option out for no limit")
    return seconds


def _unbind(app: App, args: argparse.Namespace) -> int:
    if not app.bindings().unbind(args.name, args.mode):
        raise UsageError(f"{args.name} is not bound", cure="runner secrets list")
    return 0


def _list(app: App, args: argparse.Namespace) -> int:
    from runner.custody.listing import Listing
    from runner.units import shown_duration

    rows = Listing(app).rows()
    if args.json:
        print_json(rows)
        return 0
    header = ["NAME", "SOURCE", "MODE", "WORKFLOWS", "HOSTS", "TTL", "ROTATED", "STATE"]
    print_table(
        header,
        [
            [
                row["name"],
                row["source"],
                row["mode"],
                ", ".join(row["workflows"]) or "any",
                ", ".join(row["hosts"]) or "-",
                "-" if row["ttl"] is None else shown_duration(row["ttl"]),
                (row["rotated"] or "-")[:10],
                _state(row),
            ]
            for row in rows
        ],
    )
    return 0


def _state(row: dict[str, object]) -> str:
    if isinstance(row["revoked"], dict):
        return f"revoked by {row['revoked']['by']} at {row['revoked']['at']}"
    if isinstance(row["refused"], list) and row["refused"]:
        return f"revoked for {', '.join(row['refused'])}"
    return "overdue: runner secrets rotate" if row["overdue"] else "ok"


def _leases(app: App, args: argparse.Namespace) -> int:
    from runner.custody.listing import Listing

    rows = Listing(app).leases()
    if args.json:
        print_json(rows)
        return 0
    columns = ("source", "lease", "run", "step", "expires", "live")
    print_table([name.upper() for name in columns], [[str(row[name]) for name in columns] for row in rows])
    return 0


def _rotate(app: App, args: argparse.Namespace) -> int:
    from runner.cli.taken import used
    from runner.custody.listing import Listing

    version, uses = Listing(app).rotate(args.name, _value(args), args.mode)
    if args.json:
        print_json({"name": args.name, "mode": args.mode, "version": version, "used": used(app, uses)})
        return 0
    print(f"{args.name} ({args.mode}) is at version {version}; the one before was used by {len(uses)} runs")
    rows = [
        [row["workflow"], row["run"], row["at"], "live" if row["live"] else ""] for row in used(app, uses)
    ]
    print_table(["WORKFLOW", "RUN", "LAST OPENED", ""], rows)
    return 0


def _revoke(app: App, args: argparse.Namespace) -> int:
    from runner.cli.arguments import who
    from runner.cli.taken import print_revoked
    from runner.custody.revoke import revoke
    from runner.vault.binding import Revocation

    if bool(args.name or args.workflow) == args.all:
        raise UsageError("say what to revoke: NAME, --workflow W, both, or --all alone")
    done = revoke(app, Revocation(args.name, args.mode, args.workflow, who(), app.clock.now()))
    return print_revoked(app, done, as_json=args.json)
