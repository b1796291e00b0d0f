"""The plan: all that will run, complete and immutable, before the first sandbox exists.

Values of secrets are never in it, only names. Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.sandbox.base import Limits, Mount
    from runner.settings import BreakerRule
    from runner.workflow.hosts import Rule


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Which root file system: a sandbox profile's name, or a reference to an image.

    ``lock`` is the digest of a snapshot of a lock file, whose Python packages it has beside its own.
    """

    kind: str  # "profile" or "reference"
    name: str
    lock: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}+{self.lock}" if self.lock else f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret as a step sees it: ``name`` in the sandbox, ``secret`` in the workflow, and its form.

    It is a file, with ``as_env`` a variable too; with ``as_header`` the proxy adds it, unseen.
    """

    name: str
    secret: str
    as_env: bool = False
    as_header: bool = False


@dataclass(frozen=True, slots=True)
class Input:
    """A file under ``/in``: ``name`` there, from the results of ``step`` (a planned step's id).

    An empty ``step`` means a file from outside the run: ``file`` is its path in a snapshot on the host.
    """

    name: str
    step: str
    file: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempts in all, and the pause before each: ``min(backoff * factor**(n-1), max_delay)``.

    ``on`` holds reasons (``timeout``, ``infra``, ``exit``) and exit codes.
    """

    max_attempts: int = 1
    backoff: float = 1.0
    factor: float = 2.0
    max_delay: float = 30.0
    jitter: bool = True
    on: tuple[str | int, ...] = ("timeout", "infra", "exit")


@dataclass(frozen=True, slots=True)
class Turns:
    """A concurrency group: at most ``limit`` of its runs at a time; ``cancels``: a newer ends an older."""

    group: str
    limit: int
    cancels: bool = False


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step, or one leg of a matrix (``id[key=value,…]``).

    ``env``, ``condition`` and ``inputs`` may still hold ``${{ }}`` that only earlier steps can fill.
    ``shadowed`` steps do not run: their intended call is recorded and ``shadow_files`` (name → host path
    in a snapshot) stand in for their results. ``final`` marks the steps under ``finally``. ``compensate``
    undoes the step, in a sandbox that inherited what it does not override; ``compensate_on`` says after which
    end (``succeeded``, ``failed``). ``publish`` maps results to paths in the project. ``egress`` is all
    that it may reach, None for a step without any way out (an empty one records what is asked for and
    denies it); ``closed`` are ``tcp`` hosts that it reaches in production and not here.
    """

    id: str
    step: str
    needs: tuple[str, ...]
    image: ImageRef
    argv: tuple[str, ...]
    env: dict[str, str]
    condition: str
    mounts: tuple[Mount, ...]
    limits: Limits
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    secrets: tuple[SecretUse, ...]
    timeout: float
    grace: float
    retry: Retry
    effects: str
    idempotent: bool = False
    continue_on_error: bool = False
    matrix: dict[str, Any] = field(default_factory=dict)
    max_parallel: int = 0
    fail_fast: bool = True
    shadowed: bool = False
    shadow_files: dict[str, str] = field(default_factory=dict)
    final: bool = False
    compensate: PlannedStep | None = None
    compensate_on: tuple[str, ...] = ("succeeded", "failed")
    irreversible: bool = False
    breaker: BreakerRule | None = None
    publish: dict[str, str] = field(default_factory=dict)
    egress: tuple[Rule, ...] | None = None
    closed: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it runs; ``steps`` stand in an order in which every need comes first.

    ``project`` is the folder that the workflow belongs to; ``timeout`` is for the whole run, in seconds.
    """

    workflow: str
    file: str
    mode: str
    definition: str
    digest: str
    owner: str
    runbook: str
    inputs: dict[str, Any]
    steps: dict[str, PlannedStep]
    warnings: tuple[str, ...] = ()
    project: str = ""
    timeout: float | None = None
    turns: Turns | None = None


def image_refs(plan: Plan) -> set[ImageRef]:
    """Return every image that a run of the plan can need."""
    steps = [step for step in plan.steps.values() if not step.shadowed]
    return {step.image for step in steps} | {step.compensate.image for step in steps if step.compensate}
