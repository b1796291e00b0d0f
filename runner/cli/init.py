"""``runner init SCRIPT [ARGS…]``: watch a script once, in staging, and write the workflow that it needs."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.arguments import ENGINES
from runner.cli.output import harmless
from runner.cli.running import drive

if TYPE_CHECKING:
    from runner.app import Watching
    from runner.draft.folder import Folder
    from runner.draft.script import Script
    from runner.draft.seen import Seen
    from runner.draft.watched import Watch
    from runner.errors import Problem
    from runner.runs import Ended, Runs
    from runner.settings import Settings

_TOLD = 60
_MOST_HOSTS = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("-o", dest="output", metavar="FILE", help="default: the script's name with .yaml")
    parser.add_argument("--force", action="store_true", help="write over what stands there")
    parser.add_argument("--engine", choices=ENGINES, default=None, help="default: auto")
    parser.add_argument("--sandbox", metavar="NAME", help="the profile; default: by the script's language")
    parser.add_argument(
        "--egress",
        dest="hosts",
        metavar="HOST",
        action="append",
        default=[],
        help="let this host through; any other is denied, and written down",
    )
    parser.add_argument("--requirements", metavar="FILE", help="a lock file of the Python packages it needs")
    parser.add_argument("--timeout", metavar="TIME", default="5m")
    parser.add_argument("script", metavar="SCRIPT", help="a script of Python or the shell")
    parser.add_argument(
        "arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="what the script is given"
    )


@dataclass(frozen=True, slots=True)
class _Task:
    script: Script
    folder: Folder
    output: Path
    watch: Watch
    private: frozenset[str]


def main(args: argparse.Namespace) -> int:
    """Watch and write; 1 when the script failed, of which a workflow is written too."""
    from runner.draft.folder import copied, sweep
    from runner.draft.place import locked, put, refuse_place
    from runner.draft.script import read_script
    from runner.draft.watched import Watch
    from runner.plans import reached
    from runner.settings import Settings, choices
    from runner.store.layout import Layout
    from runner.workflow.file import project_of

    settings = Settings.from_environment(os.environ)
    script = read_script(Path(args.script), args.arguments, args.sandbox)
    output = Path(args.output) if args.output else Path(args.script).with_suffix(".yaml")
    refuse_place(output, script.path, force=args.force)
    project = project_of(output)
    hosts = reached(settings, args.hosts)
    lock = locked(args.requirements, script, project)
    keep = Layout(settings.home).snapshots
    sweep(keep)
    folder = copied(script.path.parent, keep, (settings.home, output))
    try:
        watch = Watch(project, args.timeout, hosts, lock)
        task = _Task(script, folder, output, watch, choices(settings, project).private)
        status, seen = _watched(settings, args, task)
        if not seen.is_the_scripts:
            print("runner init: nothing was written: the run says nothing of the script", file=sys.stderr)
            return status or 1
        warnings = put(_drafted(task, seen), output, force=args.force)
    finally:
        folder.remove()
    _tell(output, warnings, _next(args, task, seen))
    return 0 if seen.reason is None else 1


def _watched(settings: Settings, args: argparse.Namespace, task: _Task) -> tuple[int, Seen]:
    from runner.app import App
    from runner.draft.seen import what_was_seen
    from runner.draft.watched import watched_plan
    from runner.draft.witness import Witness
    from runner.history import History

    plan = watched_plan(settings, task.script, task.folder, task.watch)
    witness = Witness(task.folder.root)
    ran: list[str] = []

    def act(runs: Runs, watching: Watching) -> Ended:
        ended = runs.start(plan, args.engine, replace(watching, around=witness.around))
        ran.append(ended[0]["run"])
        return ended

    try:
        status = drive(act, [task.script.name], as_json=False)
        with App.from_environment().journal() as journal:
            records = journal.records(ran[0])
        said = History.from_environment().last_lines(ran[0], task.script.name, "run", _TOLD)
        seen = what_was_seen(ran[0], records, said)
        return status, witness.told(seen)
    finally:
        witness.close()


def _drafted(task: _Task, seen: Seen) -> str:
    from runner.draft.compose import Draft, compose
    from runner.draft.compose_files import Files
    from runner.draft.compose_network import Network
    from runner.draft.hints import hints, named, own_modules
    from runner.workflow.hosts import parse_rule

    script, folder = task.script, task.folder
    found = hints(script, folder.files)
    home = script.path.parent
    base = os.path.relpath(home, task.output.resolve().parent)
    elsewhere = (*found.host_paths(home), *_from_here(script))
    inside = named(found.strings, folder.files)
    files = Files(script, seen, folder, base, own_modules(folder.files), elsewhere, inside)
    network = Network(seen, found, tuple(map(parse_rule, task.watch.hosts)), task.private)
    lock = os.path.relpath(task.watch.lock.resolve(), task.output.resolve().parent) if task.watch.lock else ""
    return compose(Draft(script, seen, found, files, network, lock))


def _from_here(script: Script) -> list[str]:
    """Return the arguments that are paths where this was typed, and not where the script sees them."""
    folder, paths = script.path.parent, [each for each in script.arguments if not each.startswith("-")]
    return [each for each in paths if os.path.lexists(each) and not os.path.lexists(folder / each)]


def _tell(output: Path, warnings: tuple[Problem, ...], line: str) -> None:
    counted = f", {len(warnings)} warning{'s' * (len(warnings) > 1)}" if warnings else ""
    print(f"\nwrote {harmless(str(output))}: a valid workflow{counted}")
    for each in warnings:
        hint = f" ({each.hint})" if each.hint else ""
        print(harmless(f"  {output}:{each.line}: {each.message}{hint}"))
    print(f"next: {harmless(line)}")


def _next(args: argparse.Namespace, task: _Task, seen: Seen) -> str:
    """Return what to type next: a script that failed is watched again, with what it lacked."""
    from runner.draft.compose import lock_beside
    from runner.workflow.hosts import shown

    if seen.reason is None:
        return shlex.join(["runner", "run", str(task.output)])
    lacking = [each for each in seen.asked if not each.rule][:_MOST_HOSTS]
    hosts = [f"http{'' if each.is_plain else 's'}://{shown(each.host, each.port)}" for each in lacking]
    same = (("-o", args.output), ("--engine", args.engine), ("--sandbox", args.sandbox))
    more = [word for name, value in same if value for word in (name, value)]
    more += [word for host in [*args.hosts, *hosts] for word in ("--egress", host)]
    beside = str(Path(args.script).with_name(lock_beside(task.script))) if seen.missing else None
    lock = args.requirements or beside
    more += ["--requirements", lock] if lock else []
    again = shlex.join(["runner", "init", "--force", *more, args.script, *args.arguments])
    return f"give the script what it lacked, then: {again}"
