"""Secrets from files of the operator."""

from __future__ import annotations

import os
import stat

from runner.errors import PolicyDenied
from runner.vault.secret import without_newline

_LIMIT = 1 << 20


class FileSource:
    """``file:/absolute/path``, a regular file of at most 1 MiB; a single line loses its line end."""

    def open(self, reference: str) -> bytes:
        """Return the file's content."""
        try:
            descriptor = os.open(reference, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise PolicyDenied(
                f"the secret's file {reference} cannot be read: {error.strerror}",
                cure="make it readable for this user, or bind another source",
            ) from error
        with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor, not a name
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PolicyDenied(f"{reference} is not a regular file", cure="bind another source")
            value = stream.read(_LIMIT + 1)
        if not value or len(value) > _LIMIT:
            raise PolicyDenied(f"{reference} is empty or larger than 1 MiB", cure="bind another source")
        return without_newline(value)
