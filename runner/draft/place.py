"""Where a drafted workflow may stand, and putting it there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RunnerError, UsageError, WorkflowError
from runner.workflow.file import project_of

if TYPE_CHECKING:
    from runner.draft.script import Script
    from runner.errors import Problem


def refuse_place(output: Path, script: Path, *, force: bool) -> None:
    """Raise ``UsageError`` for what would only be found wrong after the script has run."""
    if os.path.lexists(output) and not force:
        raise UsageError(f"{output} exists", cure="--force writes over it, -o FILE writes elsewhere")
    if not output.parent.is_dir() or output.is_dir():
        raise UsageError(f"{output} cannot be written: its folder is not there, or it is one")
    if output.resolve() == script.resolve():
        raise UsageError(f"{output} is the script itself")
    project = project_of(output).resolve()
    if not script.resolve().is_relative_to(project):
        raise UsageError(
            f"{output} would stand outside the script's project, whose files it has to mount",
            cure="write it beside the script, or put an empty runner.yaml into a folder above both",
        )


def locked(given: str | None, script: Script, project: Path) -> Path | None:
    """Return the lock file that was given; raises ``UsageError`` where it is of no use."""
    if given is None:
        return None
    lock = Path(given)
    if not script.is_python:
        raise UsageError("--requirements is for a script of Python")
    if not lock.is_file() or not lock.resolve().is_relative_to(project.resolve()):
        raise UsageError(f"--requirements {given}: no such file in the script's project {project}")
    return lock


def put(text: str, output: Path, *, force: bool) -> tuple[Problem, ...]:
    """Put a checked workflow in its place at once; return the checker's warnings.

    Raises ``UsageError`` when something came to stand there meanwhile.
    """
    from runner.workflow.load import load

    draft = output.with_name(f".{output.name[:100]}.{os.urandom(4).hex()}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
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
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return warnings
