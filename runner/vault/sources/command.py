"""Secrets that a command of the operator prints."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied
from runner.vault.lease import Minted
from runner.vault.secret import without_newline
from runner.vault.sources.program import output

if TYPE_CHECKING:
    from runner.vault.lease import Holder

_SECONDS = 30.0


class CommandSource:
    """``command:PROGRAM ARGUMENT…``, split as a shell would but run without one."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        """Give each run ``seconds``."""
        self._seconds = seconds

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return what the command writes; a single line loses its line end."""
        del holder, ttl
        try:
            argv = shlex.split(reference)
        except ValueError as error:
            raise PolicyDenied(
                f"the secret's command cannot be split: {error}", cure="bind it again"
            ) from None
        if not argv:
            raise PolicyDenied("the secret's command is empty", cure="bind it again")
        value = without_newline(output(argv, self._seconds))
        if not value:
            raise PolicyDenied(f"the secret's command {argv[0]} printed nothing", cure="run it by hand")
        return Minted({"": value})
