"""What an author may write, as frozen types: every key of a workflow file and nothing else.

Loaded values are seconds and bytes. Attribute names are snake_case; the file's spelling is the alias.
Whether the parts fit together (needs, paths, hosts) is checked in ``lint``.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from runner.workflow.fields import (
    WORKFLOW_NAME,
    Condition,
    Count,
    Env,
    Flag,
    Name,
    Names,
    Publish,
    Run,
    Seconds,
    StepId,
)
from runner.workflow.parts import (
    Egress,
    Matrix,
    MatrixField,
    Mount,
    Mounts,
    Part,
    Reach,
    Resources,
    Scalar,
    SecretRef,
    Secrets,
    Tcp,
)

__all__ = [
    "Approval",
    "Command",
    "Compensate",
    "Concurrency",
    "Dataset",
    "Defaults",
    "Empty",
    "Expect",
    "Input",
    "Matrix",
    "Metadata",
    "Mount",
    "Probe",
    "Reach",
    "Resources",
    "Retry",
    "SecretRef",
    "Staging",
    "Step",
    "StepStaging",
    "Strategy",
    "Triggers",
    "Workflow",
]


class Empty(Part):
    """A mapping without keys."""


class Triggers(Part):
    """``on``: what starts a run; only a person, today."""

    manual: Empty | None = None


class Metadata(Part):
    """Who answers for the workflow, and how delicate its data is."""

    owner: str = ""
    runbook: str = ""
    classification: Literal["public", "internal", "confidential", "regulated"] = "internal"
    contains: tuple[Name, ...] = ()
    recipients: tuple[Name, ...] = ()


class Input(Part):
    """One typed value that is given when a run starts; without a default it is required."""

    type: Literal["string", "number", "boolean", "date", "choice"] = "string"
    description: str = ""
    default: Scalar | None = None
    required: Flag | None = None
    pattern: str | None = None
    options: tuple[Scalar, ...] = ()


class Dataset(Part):
    """A file that production reads; staging reads the sanitized copy or ``staging_path``."""

    path: Name
    staging_path: Name | None = None
    sanitize: dict[str, str] = Field(default_factory=dict)


class Retry(Part):
    """Attempts in all, the pauses between them (seconds), and what is worth another attempt."""

    max_attempts: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    backoff: Seconds = 1.0
    factor: Annotated[float, Field(strict=True, ge=1, le=100, allow_inf_nan=False)] = 2.0
    max_delay: Seconds = 30.0
    jitter: Flag = True
    on: tuple[Literal["timeout", "infra", "exit"] | Annotated[int, Field(strict=True, ge=1, le=255)], ...] = (
        "timeout",
        "infra",
        "exit",
    )


class Strategy(Part):
    """One step as many legs."""

    matrix: MatrixField
    max_parallel: Annotated[Count | None, Field(alias="max-parallel")] = None
    fail_fast: Annotated[Flag, Field(alias="fail-fast")] = True


class Approval(Part):
    """Who has to agree before the step runs; ``timeout`` in seconds."""

    approvers: Names
    quorum: Count = 1
    timeout: Seconds | None = None


class Expect(Part):
    """What must be true of a step's result."""

    exit: Annotated[int, Field(strict=True, ge=0, le=255)] | None = None
    file: Name | None = None
    regex: str | None = None
    jsonpath: str | None = None
    rows: Annotated[int, Field(strict=True, ge=0)] | None = None
    equals: Any = None


class StepStaging(Part):
    """What a write step does in staging instead: another command, or files that stand in for its results."""

    run: Run | None = None
    out: dict[Name, Name] = Field(default_factory=dict)


class Command(Part):
    """A command and what it asks for; None inherits."""

    run: Run
    sandbox: Name | None = None
    image: Name | None = None
    env: Env = Field(default_factory=dict)
    inputs: Annotated[dict[Name, Name], Field(alias="in")] = Field(default_factory=dict)
    mounts: Mounts | None = None
    secrets: Secrets | None = None
    egress: Egress | None = None
    tcp: Tcp | None = None
    resources: Resources = Resources()
    timeout: Seconds | None = None
    grace: Seconds | None = None

    @property
    def reaches(self) -> tuple[Reach, ...]:
        """Every host that may be reached, ``tcp`` entries as ``tcp://host:port``."""
        return (self.egress or ()) + (self.tcp or ())


class Compensate(Command):
    """How to undo a step."""

    retry: Retry | None = None


class Probe(Command):
    """Prints a digest of the state outside."""


class Step(Command):
    """One step of a workflow."""

    name: str = ""
    needs: Names = ()
    condition: Annotated[Condition, Field(alias="if")] = ""
    out: Names = ()
    requirements: Name | None = None
    retry: Retry | None = None
    strategy: Strategy | None = None
    continue_on_error: Annotated[Flag, Field(alias="continue-on-error")] = False
    effects: Literal["none", "read", "write"] | None = None
    idempotent: Flag = False
    irreversible: Flag = False
    breaker: Name | None = None
    compensate: Compensate | None = None
    compensate_on: tuple[Literal["succeeded", "failed"], ...] = ("succeeded", "failed")
    probe: Probe | None = None
    staging: StepStaging | None = None
    expect: tuple[Expect, ...] = ()
    approval: Approval | None = None
    publish: Publish = Field(default_factory=dict)

    @property
    def outside(self) -> str:
        """The step's effects: as declared, else ``write`` where it can reach a host, else ``none``."""
        return self.effects or ("write" if self.reaches else "none")


class Defaults(Part):
    """What a step has unless it says otherwise."""

    sandbox: Name | None = None
    timeout: Seconds | None = None
    mounts: Mounts = ()
    resources: Resources = Resources()


class Concurrency(Part):
    """How many runs of one group may run at the same time."""

    group: Name
    limit: Count = 1
    cancel_in_progress: Annotated[Flag, Field(alias="cancel-in-progress")] = False


class Staging(Part):
    """The only hosts that a staging run reaches."""

    egress: Egress = ()


class Workflow(Part):
    """A workflow file."""

    name: Annotated[str, StringConstraints(pattern=WORKFLOW_NAME)]
    description: str = ""
    metadata: Metadata = Metadata()
    on: Triggers = Triggers()
    inputs: dict[StepId, Input] = Field(default_factory=dict)
    data: dict[StepId, Dataset] = Field(default_factory=dict)
    secrets: Names = ()
    defaults: Defaults = Defaults()
    concurrency: Concurrency | None = None
    timeout: Seconds | None = None
    staging: Staging = Staging()
    steps: Annotated[dict[StepId, Step], Field(min_length=1, max_length=5000)]
    finally_steps: Annotated[dict[StepId, Step], Field(alias="finally")] = Field(default_factory=dict)
