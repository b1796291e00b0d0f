"""The workflow's file as bytes, and its project: what can be known of a workflow without its model."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1 << 20


class Unreadable(Exception):
    """The file cannot be taken; ``place`` is line and column, as in a ``Problem``."""

    def __init__(self, message: str, place: tuple[int, int] = (0, 0)) -> None:
        """Keep what is wrong, in words."""
        super().__init__(message)
        self.message = message
        self.place = place


def content_of(path: Path) -> bytes:
    """Return the bytes of a regular file of at most 1 MiB; raises ``Unreadable``."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise Unreadable("this is not a file")
        if state.st_size > LARGEST:
            raise Unreadable(f"the file has {state.st_size} bytes, more than 1 MiB", (1, 1))
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"the file cannot be read: {words}") from None


def project_of(path: Path) -> Path:
    """Return the nearest folder above a file with a ``runner.yaml`` or ``.git``, else the file's own."""
    folder = path.absolute().parent.resolve()
    for each in (folder, *folder.parents):
        if (each / "runner.yaml").exists() or (each / ".git").exists():
            return each
    return folder
