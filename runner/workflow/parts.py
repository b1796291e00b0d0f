"""The parts whose written form differs from what they mean: mounts, secrets, matrices, limits."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from runner.units import SIZE_PATTERN
from runner.workflow.fields import Bytes, Count, EnvName, Flag, Name, Number, StepId

if TYPE_CHECKING:
    from runner.workflow.hosts import Rule

Scalar = str | Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)] | Flag


class Part(BaseModel):
    """What every part has in common: frozen, and no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True, defer_build=True)


class Resources(Part):
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


class Mount(Part):
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


class Reach(Part):
    """A host that a step may connect to: ``https://host[:port]``, or ``tcp://host:port``.

    ``insecure`` allows what is not TLS, ``private`` an address that is not public (if the operator agrees);
    ``max_bytes`` may pass in all, both ways; a wildcard says its ``reason``.
    """

    host: Name
    insecure: Flag = False
    private: Flag = False
    max_bytes: Bytes | None = None
    reason: str = ""

    @property
    def rule(self) -> "Rule":
        """The rule that this stands for; raises ``ValueError`` in plain words."""
        from runner.workflow.hosts import parse_rule

        written = self.model_dump(exclude={"max_bytes"})
        return replace(parse_rule(written), most=self.max_bytes or 0)


_TCP = "tcp://"
_HOST_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "host": {"type": "string"},
        "insecure": {"type": "boolean"},
        "private": {"type": "boolean"},
        "max_bytes": {"type": "string", "pattern": SIZE_PATTERN},
        "reason": {"type": "string"},
    },
    "required": ["host"],
    "additionalProperties": False,
}
_ONE = [{"type": "string"}, _HOST_SCHEMA]
_TCP_SCHEMA: dict[str, Any] = {"anyOf": [*_ONE, {"type": "array", "items": {"anyOf": _ONE}}]}
_TCP_ITEM = {
    "type": "object",
    "properties": {"tcp": _TCP_SCHEMA},
    "required": ["tcp"],
    "additionalProperties": False,
}


def _to_reaches(value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
    """Return one form of the three: a host, a mapping, ``{tcp: …}`` with either."""
    if not isinstance(value, list):
        value = [value] if isinstance(value, str | dict) else value
    if not isinstance(value, list):
        return value
    found: list[Any] = []
    for item in value:
        if isinstance(item, dict) and set(item) == {"tcp"}:
            found += _to_tcp(item["tcp"]) if isinstance(item["tcp"], str | dict | list) else [item]
        else:
            found.append({"host": item} if isinstance(item, str) else item)
    return found


def _to_tcp(value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
    found = _to_reaches(value)
    if not isinstance(found, list):
        return found
    return [
        item | {"host": _TCP + item["host"].removeprefix(_TCP)}
        if isinstance(item, dict) and isinstance(item.get("host"), str)
        else item
        for item in found
    ]


Egress = Annotated[
    tuple[Reach, ...],
    Field(max_length=1000),
    BeforeValidator(_to_reaches),
    WithJsonSchema({"anyOf": [*_ONE, {"type": "array", "items": {"anyOf": [*_ONE, _TCP_ITEM]}}]}),
]
Tcp = Annotated[
    tuple[Reach, ...], Field(max_length=1000), BeforeValidator(_to_tcp), WithJsonSchema(_TCP_SCHEMA)
]


class SecretRef(Part):
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


class Matrix(Part):
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
MatrixField = Annotated[Matrix, WithJsonSchema(_MATRIX_SCHEMA)]
