"""A step's own identity, for services that trust Runner as an issuer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.vault.lease import Minted

if TYPE_CHECKING:
    from runner.vault.issuer import Issuer
    from runner.vault.lease import Holder


class IdentitySource:
    """``identity:AUDIENCE``: a signed token about the attempt. It cannot be taken back, and soon ends."""

    def __init__(self, issuer: Issuer) -> None:
        """Let ``issuer`` sign."""
        self._issuer = issuer

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return a new token for the audience."""
        return Minted({"": self._issuer.token(holder, reference, ttl)})
