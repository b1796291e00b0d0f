"""``runner init SCRIPT [ARGS…]``: watch a script once, in staging, and write the workflow that it needs."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.arguments import ENGINES
from runner.cli.output import harmless
from runner.cli.running import drive
from runner.errors import RunnerError, UsageError, WorkflowError

if TYPE_CHECKING:
    from runner.app import Watching
    from runner.draft.folder import Folder
    from runner.draft.script import Script
    from runner.draft.seen import Seen
    from runner.runs import Ended, Runs
    from runner.workflow.hosts import Rule

_TOLD = 60


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
    project: Path
    opened: tuple[Rule, ...]
    private: frozenset[str]


def main(args: argparse.Namespace) -> int:
    """Watch and write; 0 when the script succeeded, 1 when it failed and a workflow was written all the same."""
    from runner.draft.folder import copied
    from runner.draft.script import read_script
    from runner.draft.watched import opened
    from runner.settings import Settings, choices
    from runner.store.layout import Layout
    from runner.workflow.file import project_of

    settings = Settings.from_environment(os.environ)
    script = read_script(Path(args.script), args.arguments, args.sandbox)
    output = Path(args.output) if args.output else script.path.with_suffix(".yaml")
    _refuse_place(output, script, force=args.force)
    project = project_of(output)
    private = choices(settings, project).private
    rules = opened(args.hosts, private)
    folder = copied(script.path.resolve().parent, Layout(settings.home).snapshots, settings.home)
    try:
        task = _Task(script, folder, output, project, rules, private)
        status, seen = _watched(settings, args, task)
        if not seen.is_the_scripts:
            print("runner init: nothing was written: the run says nothing of the script", file=sys.stderr)
            return status or 1
        _write(_drafted(task, seen), output, force=args.force)
    finally:
        folder.remove()
    return 0 if seen.reason is None else 1


def _refuse_place(output: Path, script: Script, *, force: bool) -> None:
    """Refuse what would only be found wrong after the run."""
    from runner.workflow.file import project_of

    if os.path.lexists(output) and not force:
        raise UsageError(f"{output} exists", cure="--force writes over it, -o FILE writes elsewhere")
    if not output.parent.is_dir() or output.is_dir():
        raise UsageError(f"{output} cannot be written: its folder is not there, or it is one")
    if output.resolve() == script.path.resolve():
        raise UsageError(f"{output} is the script itself")
    project = project_of(output).resolve()
    if not script.path.resolve().is_relative_to(project):
        raise UsageError(
            f"{output} would stand outside the script's project: a workflow mounts nothing from outside its own",
            cure=f"write it to a folder of the project, or make one of {project} (an empty runner.yaml)",
        )


def _watched(settings: object, args: argparse.Namespace, task: _Task) -> tuple[int, Seen]:
    from runner.app import App
    from runner.draft.reads import Reads
    from runner.draft.seen import what_was_seen
    from runner.draft.watched import Watch, watched_plan
    from runner.draft.witness import Witness
    from runner.history import History

    plan = watched_plan(settings, task.script, task.folder, Watch(task.project, task.opened, args.timeout))
    reads = Reads(task.folder.root)
    witness = Witness(reads)
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
        return status, replace(seen, usage=witness.used, read=reads.opened(), blind=reads.lost)
    finally:
        reads.close()


def _drafted(task: _Task, seen: Seen) -> str:
    from runner.draft.compose import Draft, compose
    from runner.draft.compose_files import Files
    from runner.draft.compose_network import Network
    from runner.draft.hints import hints, own_modules

    script, folder = task.script, task.folder
    found = hints(script, folder.files)
    home = script.path.resolve().parent
    base = os.path.relpath(home, task.output.resolve().parent)
    files = Files(script, seen, folder, base, own_modules(folder.files), found.host_paths(home))
    return compose(Draft(script, seen, found, files, Network(seen, found, task.opened, task.private)))


def _write(text: str, output: Path, *, force: bool) -> None:
    """Put a checked workflow in its place at once; raises ``UsageError`` when something came to stand there."""
    from runner.workflow.load import load

    draft = output.with_name(f".{output.name[:100]}.{os.urandom(4).hex()}")
    with draft.open("x", encoding="utf-8") as file:
        file.write(text)
    try:
        warnings = load(draft).warnings
        if force:
            draft.replace(output)
        else:
            os.link(draft, output)
    except WorkflowError as error:
        told = "; ".join(f"line {each.line}: {each.message}" for each in error.problems)
        raise RunnerError(f"no valid workflow could be made of what was seen: {told}") from error
    except FileExistsError:
        raise UsageError(f"{output} came to be while the script ran", cure="--force writes over it") from None
    finally:
        draft.unlink(missing_ok=True)
    print(f"\nwrote {harmless(str(output))}: a valid workflow{_counted(len(warnings))}")
    for each in warnings:
        print(harmless(f"  {output}:{each.line}: {each.message}{f' ({each.hint})' if each.hint else ''}"))
    print(f"next: runner run {harmless(_argument(output))}")


def _counted(warnings: int) -> str:
    return f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""


def _argument(output: Path) -> str:
    import shlex

    return shlex.join([str(output)])
