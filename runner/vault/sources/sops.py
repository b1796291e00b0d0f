"""Secrets from files that are encrypted with sops."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied, SourceUnavailable
from runner.vault.lease import Minted
from runner.vault.secret import without_newline
from runner.vault.sources.program import output

if TYPE_CHECKING:
    from runner.vault.lease import Holder

_SECONDS = 30.0


class SopsSource:
    """``sops:/absolute/file#KEY``, the parts of a nested key parted by ``/``; without a key the whole file.

    sops finds its keys itself, as its own variables say (``SOPS_AGE_KEY_FILE`` and others).
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        """Give each run ``seconds``."""
        self._seconds = seconds

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return the decrypted value."""
        del holder, ttl
        file, hash_, key = reference.rpartition("#") if "#" in reference else (reference, "", "")
        argv = [_program(), "decrypt"]
        if hash_:
            argv += ["--extract", "".join(map(_index, key.split("/")))]
        if not Path(file).is_file():
            raise PolicyDenied(f"the secret's file {file} is not there", cure="bind the secret again")
        try:
            value = without_newline(output([*argv, file], self._seconds))
        except SourceUnavailable as error:
            raise SourceUnavailable(
                f"sops does not give {reference}: {error.message}",
                cure=f"see what it says: sops decrypt {file}",
            ) from None
        if not value:
            raise PolicyDenied(f"{reference} is empty", cure="bind another key of the file")
        return Minted({"": value})


def _index(part: str) -> str:
    return f"[{part}]" if part.isdecimal() else f"[{json.dumps(part)}]"


def _program() -> str:
    beside = shutil.which("sops", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("sops")
    if not found:
        raise PolicyDenied("the program sops is not there", cure="pip install 'runner[sops]'")
    return found
