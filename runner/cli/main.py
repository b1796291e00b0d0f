"""The way in: finds the command, runs it, and turns every error into words and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from runner import __version__
from runner.errors import RunnerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "run": "run a workflow, each step in its own sandbox",
    "init": "watch a script once in staging, and write the workflow that it needs",
    "exec": "run one command in a sandbox, no file needed",
    "validate": "check workflow files: every error, with line and column",
    "plan": "print what a run would do, without doing it",
    "graph": "draw the steps and what they need",
    "explain": "say in plain words what a workflow can and cannot do",
    "ps": "list runs",
    "show": "show one run",
    "logs": "print what a run's steps wrote",
    "outputs": "copy a run's result files into a folder",
    "resume": "go on with a run that was interrupted, waits, or was held",
    "retry": "run a failed run's plan anew, with what succeeded carried over",
    "cancel": "end a run, from any terminal",
    "rollback": "undo what a run that has ended did",
    "approve": "decide that a held write may be attempted again, or was done",
    "reject": "decide that a held write is given up",
    "breakers": "list, trip and reset circuit breakers",
    "secrets": "set, bind, list, rotate and revoke secrets (the operator's side)",
    "keys": "print and rotate the keys that sign the identities of steps",
    "sandbox": "build and list sandbox profiles",
    "doctor": "say what this machine can enforce, and the cure for each gap",
    "gc": "remove what dead runs left behind, and take back their leases",
    "schema": "print the JSON Schema of a workflow file",
}
CANCELLED = 130
_TURN = 0.0005  # seconds


def entry() -> None:
    """Run the command line of this process and exit with its status."""
    gc.disable()  # a short life: collecting garbage while modules load costs more than it frees
    sys.setswitchinterval(_TURN)  # whoever talks to the engine must not wait for modules that still load
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # foreign code and a slow search
    _open_closed_streams()
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:
        status = _unheard(error)
    sys.stderr.flush()
    os._exit(status)  # all is written and closed: taking the modules apart one by one helps nobody


def _open_closed_streams() -> None:
    """Give a closed standard stream to nobody, lest a file that we open takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _unheard(error: OSError) -> int:
    """Return the status for output that cannot be written, and keep the exit from trying again."""
    if not isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):
            print(f"runner: {error}", file=sys.stderr)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    return CANCELLED if isinstance(error, BrokenPipeError) else 4


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit status of the contract."""
    if list(argv) in (["--version"], ["-V"]):
        print(f"runner {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        return _unknown(argv[0])
    return _guarded(argv[0], argv[1:])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, cure=f"{self.prog} --help says more")


def _guarded(command: str, argv: Sequence[str]) -> int:
    try:
        module = importlib.import_module(f"runner.cli.{command}")
        parser = _Parser(prog=f"runner {command}", description=COMMANDS[command] + ".")
        module.configure(parser)
        status: int = module.main(parser.parse_args(argv))
        sys.stdout.flush()
    except RunnerError as error:
        return _told(command, argv, error, error.exit_code)
    except OSError as error:
        return _unheard(error)
    except KeyboardInterrupt:
        return _told(command, argv, RunnerError("interrupted"), CANCELLED)
    except Exception as error:
        if os.environ.get("RUNNER_DEBUG"):
            raise
        words = f"a defect in Runner: {type(error).__name__}: {error}"
        cure = "run it again with RUNNER_DEBUG=1 and report what it prints"
        return _told(command, argv, RunnerError(words, cure=cure), 4)
    return status


def _told(command: str, argv: Sequence[str], error: RunnerError, status: int) -> int:
    """Say what went wrong, with ``--json`` as the one value on stdout too; return the exit status."""
    from runner.cli.output import harmless, print_json

    print(f"runner {command}: {harmless(str(error))}", file=sys.stderr)
    if "--json" in argv[: argv.index("--") if "--" in argv else len(argv)]:
        print_json({"error": error.message, "cure": error.cure, "exit": status})
        sys.stdout.flush()
    return status


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: runner COMMAND …   (runner COMMAND --help says more)",
            "",
            *lines,
            "",
            "  --version  print the version",
            "",
            "exit status: 0 succeeded · 1 a step failed · 2 wrong workflow or command line",
            "             3 not allowed · 4 engine · 5 a rollback failed: a person is needed",
            "             6 the run waits for a person · 130 cancelled",
        ]
    )


def _unknown(word: str) -> int:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, 1)
    hint = f"did you mean '{near[0]}'?" if near else "runner --help lists the commands"
    print(f"runner: there is no command '{word}'; {hint}", file=sys.stderr)
    return 2
