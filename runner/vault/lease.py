"""What a source hands out for one attempt, and what it takes to take it back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Holder:
    """Which attempt a value is for: claims that a source may check or record; nothing in it is secret."""

    run: str
    workflow: str
    mode: str
    step: str
    attempt: int
    phase: str
    definition: str
    plan: str


@dataclass(frozen=True, slots=True)
class Lease:
    """``id`` is what the source needs, beside the binding, to take the value back; it is no secret.

    ``expires`` is when the value ends on its own, in seconds since 1970.
    """

    id: str
    expires: float


@dataclass(frozen=True, slots=True)
class Minted:
    """Values by field (``""`` for a source that knows one value), and the lease if it can be taken back."""

    values: Mapping[str, bytes] = field(repr=False)
    lease: Lease | None = None
