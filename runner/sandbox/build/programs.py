"""Running the programs that a build needs, with one clear error when one is missing or fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import SandboxError

if TYPE_CHECKING:
    from pathlib import Path

Progress = Callable[[str], None]

EPOCH = 1_700_000_000
"""The time of every file in an image, in seconds since 1970."""

CURES = {
    "mmdebstrap": "apt-get install mmdebstrap",
    "apt-get": "build the profile on a Debian machine, or use `image:` with a reference",
    "dpkg-deb": "apt-get install dpkg",
}


_UNREACHABLE = "is the Debian mirror reachable? `apt-get update` tells"
_UNPRIVILEGED = "build as root, or install uidmap and give this user a range in /etc/subuid and /etc/subgid"


def need(program: str) -> str:
    """Return the path of ``program``; raises ``SandboxError`` with the command that installs it."""
    found = shutil.which(program)
    if found is None:
        raise SandboxError(f"building a sandbox profile needs {program}", cure=CURES.get(program, ""))
    return found


def run(argv: list[str], *, folder: Path, progress: Progress, stdin: str = "") -> None:
    """Run ``argv`` in ``folder`` and give its words to ``progress``.

    Raises ``SandboxError`` with its last lines when it is missing or fails.
    """
    argv = [need(argv[0]), *argv[1:]]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
    last: deque[str] = deque(maxlen=6)
    with subprocess.Popen(
        argv,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise SandboxError(f"{argv[0]} could not be started")
        with suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        for line in process.stdout:
            last.append(line.rstrip())
            progress(line.rstrip())
    if process.returncode:
        words = "\n  ".join(last)
        raise SandboxError(
            f"{argv[0]} failed with status {process.returncode}:\n  {words}",
            cure=_UNPRIVILEGED if "chroot mode" in words else _UNREACHABLE,
        )


def output(argv: list[str], *, folder: Path) -> str:
    """Return what ``argv`` prints; raises ``SandboxError`` when it fails."""
    lines: list[str] = []
    run(argv, folder=folder, progress=lines.append)
    return "\n".join(lines)
