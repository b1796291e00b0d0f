"""What an author may write, as frozen types: every key of a workflow file and nothing else.

Loaded values are seconds and bytes. Attribute names are snake_case; the file's spelling is the alias.
Whether the parts fit together (needs, paths, hosts) is checked in ``lint``.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from runner.workflow.fields import (
    WORKFLOW_NAME,
    Bytes,
    Condition,
    Count,
    Egress,
    Env,
    EnvName,
    Flag,
    Name,
    Names,
    Number,
    Publish,
    Run,
    Seconds,
    StepId,
)

Scalar = str | Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)] | Flag


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class Empty(_Part):
    """A mapping without keys."""


class Triggers(_Part):
    """``on``: what starts a run; only a person, today."""

    manual: Empty | None = None


class Metadata(_Part):
    """Who answers for the workflow, and how delicate its data is."""

    owner: str = ""
    runbook: str = ""
    classification: Literal["public", "internal", "confidential", "regulated"] = "internal"
    contains: tuple[Name, ...] = ()
    recipients: tuple[Name, ...] = ()


class Input(_Part):
    """One typed value that is given when a run starts; without a default it is required."""

    type: Literal["string", "number", "boolean", "date", "choice"] = "string"
    description: str = ""
    default: Scalar | None = None
    required: Flag | None = None
    pattern: str | None = None
    options: tuple[Scalar, ...] = ()


class Dataset(_Part):
    """A file that production reads; staging reads the sanitized copy or ``staging_path``."""

    path: Name
    staging_path: Name | None = None
    sanitize: dict[str, str] = {}


class Resources(_Part):
    """Limits of one sandbox, in bytes and counts; None inherits."""

    memory: Bytes | None = None
    cpus: Number | None = None
    pids: Count | None = None
    files: Count | None = None
    tmp: Bytes | None = None
    shm: Bytes | None = None
    work: Bytes | None = None
    output: Bytes | None = None
    log: Bytes | None = None


class Mount(_Part):
    """``SOURCE:TARGET``, read-only."""

    source: str
    target: str

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
        if not isinstance(value, str):
            raise ValueError("a mount is written SOURCE:TARGET")  # noqa: TRY004 - pydantic's way
        parts = value.removesuffix(":ro").split(":")
        if parts[-1] == "rw":
            raise ValueError("mounts are read-only snapshots, :rw does not exist: write results to /out")
        if len(parts) != 2 or not all(parts):  # noqa: PLR2004 - source and target
            raise ValueError("a mount is written SOURCE:TARGET or SOURCE:TARGET:ro")
        return {"source": parts[0], "target": parts[1]}


_MOUNT_SCHEMA = {"type": "string", "pattern": r"^[^:]+:/[^:]*(:ro)?$"}
Mounts = tuple[Annotated[Mount, WithJsonSchema(_MOUNT_SCHEMA)], ...]


class SecretRef(_Part):
    """A declared secret as a step gets it: a file, also an environment variable, or a header by the proxy."""

    secret: Name
    form: Annotated[Literal["file", "env", "header"], Field(alias="as")] = "file"


def _to_secrets(value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {item: {"secret": item} for item in value}
    if isinstance(value, dict):
        return {name: {"secret": ref} if isinstance(ref, str) else ref for name, ref in value.items()}
    return value


_SECRET_SCHEMA = {
    "type": "object",
    "properties": {"secret": {"type": "string"}, "as": {"enum": ["file", "env", "header"]}},
    "required": ["secret"],
    "additionalProperties": False,
}
_SECRETS_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, _SECRET_SCHEMA]}},
    ]
}
Secrets = Annotated[dict[EnvName, SecretRef], BeforeValidator(_to_secrets), WithJsonSchema(_SECRETS_SCHEMA)]


class Retry(_Part):
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


class Matrix(_Part):
    """``axes`` multiply; ``exclude`` takes legs away, ``include`` adds to them, as on GitHub."""

    axes: dict[StepId, tuple[Scalar, ...]] = {}
    include: tuple[dict[StepId, Scalar], ...] = ()
    exclude: tuple[dict[StepId, Scalar], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
        if not isinstance(value, dict):
            return value
        special = {key: value[key] for key in ("include", "exclude") if key in value}
        return {"axes": {key: legs for key, legs in value.items() if key not in special}, **special}


_MATRIX_SCHEMA = {"type": "object", "additionalProperties": {"type": "array"}}


class Strategy(_Part):
    """One step as many legs."""

    matrix: Annotated[Matrix, WithJsonSchema(_MATRIX_SCHEMA)]
    max_parallel: Annotated[Count | None, Field(alias="max-parallel")] = None
    fail_fast: Annotated[Flag, Field(alias="fail-fast")] = True


class Approval(_Part):
    """Who has to agree before the step runs; ``timeout`` in seconds."""

    approvers: Names
    quorum: Count = 1
    timeout: Seconds | None = None


class Expect(_Part):
    """What must be true of a step's result."""

    exit: Annotated[int, Field(strict=True, ge=0, le=255)] | None = None
    file: Name | None = None
    regex: str | None = None
    jsonpath: str | None = None
    rows: Annotated[int, Field(strict=True, ge=0)] | None = None
    equals: Any = None


class StepStaging(_Part):
    """What a write step does in staging instead: another command, or files that stand in for its results."""

    run: Run | None = None
    out: dict[Name, Name] = {}


class Command(_Part):
    """A command and what it asks for; None inherits."""

    run: Run
    sandbox: Name | None = None
    image: Name | None = None
    env: Env = {}
    inputs: Annotated[dict[Name, Name], Field(alias="in")] = {}
    mounts: Mounts | None = None
    secrets: Secrets | None = None
    egress: Egress | None = None
    tcp: Names | None = None
    resources: Resources = Resources()
    timeout: Seconds | None = None
    grace: Seconds | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that may be reached, ``tcp`` entries as ``tcp://host:port``."""
        return (self.egress or ()) + tuple(f"tcp://{host}" for host in self.tcp or ())


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
    probe: Probe | None = None
    staging: StepStaging | None = None
    expect: tuple[Expect, ...] = ()
    approval: Approval | None = None
    publish: Publish = {}

    @property
    def outside(self) -> str:
        """The step's effects: as declared, else ``write`` where it can reach a host, else ``none``."""
        return self.effects or ("write" if self.hosts else "none")


class Defaults(_Part):
    """What a step has unless it says otherwise."""

    sandbox: Name | None = None
    timeout: Seconds | None = None
    mounts: Mounts = ()
    resources: Resources = Resources()


class Concurrency(_Part):
    """How many runs of one group may run at the same time."""

    group: Name
    limit: Count = 1
    cancel_in_progress: Annotated[Flag, Field(alias="cancel-in-progress")] = False


class Staging(_Part):
    """The only hosts that a staging run reaches."""

    egress: Egress = ()


class Workflow(_Part):
    """A workflow file."""

    name: Annotated[str, StringConstraints(pattern=WORKFLOW_NAME)]
    description: str = ""
    metadata: Metadata = Metadata()
    on: Triggers = Triggers()
    inputs: dict[StepId, Input] = {}
    data: dict[StepId, Dataset] = {}
    secrets: Names = ()
    defaults: Defaults = Defaults()
    concurrency: Concurrency | None = None
    staging: Staging = Staging()
    steps: Annotated[dict[StepId, Step], Field(min_length=1)]
    finally_steps: Annotated[dict[StepId, Step], Field(alias="finally")] = {}
