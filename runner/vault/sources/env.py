"""Secrets from the environment of the runner's own process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied
from runner.vault.lease import Minted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.vault.lease import Holder


class EnvSource:
    """``env:VAR``."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Read ``environ``, by default the process's own."""
        self._environ = os.environ if environ is None else environ

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return the variable's value as bytes."""
        del holder, ttl
        value = self._environ.get(reference)
        if not value:
            raise PolicyDenied(
                f"the environment variable {reference} is not set or empty",
                cure=f"export {reference} before the run, or bind another source",
            )
        return Minted({"": os.fsencode(value)})
