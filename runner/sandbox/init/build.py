"""Build ``sandbox-init`` for both machines: ``python -m runner.sandbox.init.build [--check]``.

The same source and the same compiler (the ``ziglang`` package) give the same bytes; ``--check`` builds into
a temporary folder and compares.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from runner.sandbox.init.binary import FOLDER

SOURCES = tuple(sorted(Path(__file__).resolve().parent.glob("*.c")))
MACHINES = ("x86_64", "aarch64")
_FLAGS = ("-static", "-Os", "-s", "-std=c99", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")


def build(folder: Path) -> tuple[Path, ...]:
    """Compile into ``folder`` and write its ``SHA256SUMS``; return every file written."""
    binaries = tuple(_compile(machine, folder) for machine in MACHINES)
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(b.read_bytes()).hexdigest()}  {b.name}\n" for b in binaries))
    return (*binaries, sums)


def stale() -> list[str]:
    """Name the files in the repository that differ from what the source gives now."""
    with tempfile.TemporaryDirectory() as name:
        built = build(Path(name))
        return [new.name for new in built if not _same(new, FOLDER / new.name)]


def _compile(machine: str, folder: Path) -> Path:
    binary = folder / f"sandbox-init-{machine}"
    target = f"{machine}-linux-musl"
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        target,
        *_FLAGS,
        "-o",
        str(binary),
        *(source.name for source in SOURCES),
    ]
    subprocess.run(command, check=True, cwd=SOURCES[0].parent)
    binary.chmod(0o755)
    return binary


def _same(new: Path, old: Path) -> bool:
    return old.is_file() and old.read_bytes() == new.read_bytes()


def _main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m runner.sandbox.init.build [--check]\n")
        return 2
    if not arguments:
        build(FOLDER)
        return 0
    different = stale()
    for name in different:
        sys.stderr.write(f"{name} differs from its source: run python -m runner.sandbox.init.build\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
