"""What happens to secrets, and to the leases of those that a source made for one attempt; never a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretOpened:
    """A secret's value was handed to an attempt; only its name is kept."""

    step: str
    attempt: int
    name: str


@dataclass(frozen=True, slots=True)
class LeaseAsked:
    """Intent: ``source`` (``SCHEME:REFERENCE``) may make a value for this attempt from now on.

    Written where the source can find by the attempt what it made, should the runner die before it knows more.
    """

    step: str
    attempt: int
    phase: str
    name: str
    source: str
    expires: float


@dataclass(frozen=True, slots=True)
class LeaseTaken:
    """A source made a value for one attempt that can be taken back by its ``lease``; see ``vault/lease``.

    Again with another ``name`` that shares it, and with a later ``expires`` when it was renewed.
    """

    step: str
    attempt: int
    phase: str
    name: str
    source: str
    lease: str
    expires: float


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """A lease's value is of no use any more; ``detail`` says what could not be undone, and what to do."""

    step: str
    attempt: int
    phase: str
    source: str
    lease: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SecretRevoked:
    """``who`` revoked these names for the run's workflow: attempts that hold one are to end."""

    names: tuple[str, ...]
    who: str
