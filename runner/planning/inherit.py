"""What a step has when it does not say otherwise: its own word, else ``defaults``, else Runner's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.planning.plan import ImageRef, Retry, SecretUse
from runner.sandbox.base import Limits

if TYPE_CHECKING:
    from runner.workflow.model import Command, Compensate, Defaults, Mount, Resources, Step

MIB = 1 << 20
LIMITS = Limits(
    memory=256 * MIB,
    cpus=1.0,
    pids=64,
    files=1024,
    tmp=64 * MIB,
    shm=16 * MIB,
    work=256 * MIB,
    output=256 * MIB,
    log=64 * MIB,
)
TIMEOUT = 3600.0
GRACE = 10.0
SANDBOX = "minimal"
COMPENSATION_RETRY = Retry(max_attempts=3)


def limits_of(step: Step, defaults: Defaults) -> Limits:
    """Return a step's limits, field by field."""
    found = {}
    for name in Limits.__slots__:
        own, common = getattr(step.resources, name), getattr(defaults.resources, name)
        found[name] = next(value for value in (own, common, getattr(LIMITS, name)) if value is not None)
    return Limits(**found)


def limits_over(limits: Limits, own: Resources) -> Limits:
    """Return the limits with those that ``own`` gives in their place."""
    given = {name: getattr(own, name) for name in Limits.__slots__ if getattr(own, name) is not None}
    return replace(limits, **given)


def image_of(step: Command, defaults: Defaults) -> ImageRef:
    """Return a step's root file system: ``image`` wins over an inherited sandbox."""
    if step.image is not None:
        return ImageRef("reference", step.image)
    return ImageRef("profile", step.sandbox or defaults.sandbox or SANDBOX)


def mounts_of(step: Step, defaults: Defaults) -> tuple[Mount, ...]:
    """Return a step's mounts after those of ``defaults``; the same target is the step's."""
    own = step.mounts or ()
    taken = {mount.target.rstrip("/") for mount in own}
    return tuple(mount for mount in defaults.mounts if mount.target.rstrip("/") not in taken) + own


def timeout_of(step: Step, defaults: Defaults) -> float:
    """Return the seconds that one attempt may take."""
    return next(value for value in (step.timeout, defaults.timeout, TIMEOUT) if value is not None)


def grace_of(step: Step) -> float:
    """Return the seconds between TERM and KILL."""
    return GRACE if step.grace is None else step.grace


def retry_of(step: Step | Compensate) -> Retry:
    """Return how a step is attempted again; once without ``retry``."""
    if step.retry is None:
        return Retry()
    given = step.retry
    return Retry(
        given.max_attempts, given.backoff, given.factor, given.max_delay, given.jitter, tuple(given.on)
    )


def secrets_of(step: Command) -> tuple[SecretUse, ...]:
    """Return the secrets that a step gets, by name alone."""
    return tuple(
        SecretUse(name, reference.secret, reference.form == "env", reference.form == "header")
        for name, reference in (step.secrets or {}).items()
    )


def argv_of(run: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return a command's argv: a string is for the shell, which stops at the first failure."""
    return ("/bin/sh", "-ec", run) if isinstance(run, str) else tuple(run)
