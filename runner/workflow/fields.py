"""The small types of a workflow file: what one value may look like, and what it becomes.

Each type carries its JSON Schema, so that an editor and the loader agree.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from runner.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

STEP_ID = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
WORKFLOW_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_STRING = {"type": "string"}
_STRINGS = {"type": "array", "items": _STRING}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}


def _to_text(value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value


def _to_list(value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
    return [value] if isinstance(value, str) else value


def _to_run(value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("run is empty: write the command")
        return value
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError("run is one string for the shell, or a list of strings (argv)")
    return tuple(value)


def _to_publish(value: Any) -> Any:  # noqa: ANN401 - whatever YAML gave
    value = _to_list(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {item: item for item in value}
    return value


Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": 0}]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"const": 0}]}),
]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Number = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
StepId = Annotated[str, StringConstraints(pattern=STEP_ID)]
EnvName = Annotated[str, StringConstraints(pattern=ENV_NAME)]
Text = Annotated[str, BeforeValidator(_to_text), WithJsonSchema(_SCALAR)]
Names = Annotated[
    tuple[Name, ...],
    Field(max_length=1000),
    BeforeValidator(_to_list),
    WithJsonSchema({"anyOf": [_STRING, _STRINGS]}),
]
Run = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_to_run),
    WithJsonSchema({"anyOf": [_STRING | {"minLength": 1}, _STRINGS | {"minItems": 1}]}),
]
Condition = Annotated[
    str, BeforeValidator(_to_text), WithJsonSchema({"type": ["string", "boolean", "number", "null"]})
]
Env = dict[EnvName, Text]
Publish = Annotated[
    dict[str, str],
    BeforeValidator(_to_publish),
    WithJsonSchema({"anyOf": [_STRING, _STRINGS, {"type": "object", "additionalProperties": _STRING}]}),
]
