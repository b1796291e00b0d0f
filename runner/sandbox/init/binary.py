"""The built ``sandbox-init``: found by machine, believed by digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runner.errors import SandboxError

FOLDER = Path(__file__).resolve().parent / "bin"
_NAMES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def path_for(machine: str) -> Path:
    """Return the binary for ``machine`` (``x86_64``, ``aarch64`` or Docker's names for them).

    Raises ``SandboxError`` when there is none, or when its bytes are not the ones that were built.
    """
    if machine not in _NAMES:
        raise SandboxError(f"there is no sandbox-init for {machine}", cure="use an x86-64 or arm64 machine")
    path = FOLDER / f"sandbox-init-{_NAMES[machine]}"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _digests().get(path.name):
        raise SandboxError(f"{path.name} is missing or was altered", cure="install runner again")
    return path


def _digests() -> dict[str, str]:
    sums = FOLDER / "SHA256SUMS"
    lines = sums.read_text().splitlines() if sums.is_file() else []
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
