"""Where the data that ships with Runner lies: the sandbox profiles and the system call policy."""

from __future__ import annotations

from pathlib import Path

from runner.errors import SandboxError

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_folder() -> Path:
    """Return the ``sandboxes`` folder: of the installed wheel, else of the repository.

    Raises ``SandboxError`` when the installation is incomplete.
    """
    for folder in (_PACKAGE / "_shipped" / "sandboxes", _PACKAGE.parent / "sandboxes"):
        if (folder / "seccomp").is_dir():
            return folder
    raise SandboxError("Runner's own sandboxes folder is missing", cure="install runner again")
