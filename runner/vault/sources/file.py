"""Secrets from files of the operator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied
from runner.vault.files import open_regular
from runner.vault.lease import Minted
from runner.vault.secret import without_newline

if TYPE_CHECKING:
    from runner.vault.lease import Holder

_LIMIT = 1 << 20


class FileSource:
    """``file:/absolute/path``, a regular file of at most 1 MiB; a single line loses its line end."""

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return the file's content."""
        del holder, ttl
        try:
            stream = open_regular(Path(reference), follow=True)
        except OSError as error:
            raise PolicyDenied(
                f"the secret's file {reference} cannot be read: {error.strerror}",
                cure="make it readable for this user, or bind another source",
            ) from error
        with stream:
            value = stream.read(_LIMIT + 1)
        if not value or len(value) > _LIMIT:
            raise PolicyDenied(f"{reference} is empty or larger than 1 MiB", cure="bind another source")
        return Minted({"": without_newline(value)})
