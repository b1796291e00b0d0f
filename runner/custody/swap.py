"""Whether memory that holds secrets may come to lie on a disk in the clear."""

from __future__ import annotations

import os
from pathlib import Path

PROC, SYS = Path("/proc"), Path("/sys")


def unencrypted_swap(proc: Path = PROC, sys: Path = SYS) -> list[str]:
    """Return the swap areas that are not known to be encrypted, or to lie in memory."""
    try:
        lines = (proc / "swaps").read_text().splitlines()[1:]
    except OSError:
        return []
    areas = [(fields[0], fields[1]) for line in lines if len(fields := line.split()) > 1]
    return [name for name, kind in areas if not _is_safe(_device(name, kind, sys), sys)]


def _device(name: str, kind: str, sys: Path) -> Path:
    """Return the folder of the block device under a swap partition, or under the disk of a swap file."""
    try:
        if kind == "file":
            number = os.stat(name).st_dev  # noqa: PTH116 - a name from the kernel
            return (sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}").resolve()
        return (sys / "class" / "block" / Path(name).resolve().name).resolve()
    except OSError:
        return sys / "unknown"


def _is_safe(device: Path, sys: Path) -> bool:
    if device.name.startswith("zram"):
        return _read(device / "backing_dev") in ("", "none")
    if _read(device / "dm" / "uuid").startswith("CRYPT-"):
        return True
    below = device / "slaves"
    parts = list(below.iterdir()) if below.is_dir() else []
    return bool(parts) and all(_is_safe(part.resolve(), sys) for part in parts)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
