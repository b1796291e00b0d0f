"""The JSON Schema and the loader agree."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from runner.workflow.schema import json_schema

GOOD: list[dict[str, Any]] = [
    {"name": "x", "steps": {"a": {"run": "x"}}},
    {"name": "x", "steps": {"a": {"run": ["x", "y"], "timeout": "1h30m", "needs": "b", "if": True}}},
    {"name": "x", "steps": {"a": {"run": "x", "mounts": ["./a:/b:ro"], "secrets": ["t"]}}},
    {"name": "x", "steps": {"a": {"run": "x", "secrets": {"T": {"secret": "t", "as": "header"}}}}},
    {"name": "x", "steps": {"a": {"run": "x", "egress": ["a.example", {"tcp": ["b:1"]}]}}},
    {"name": "x", "steps": {"a": {"run": "x", "strategy": {"matrix": {"o": [1]}, "max-parallel": 2}}}},
    {"name": "x", "steps": {"a": {"run": "x", "env": {"A": 1, "B": True, "C": None}}}, "on": {"manual": {}}},
    {"name": "x", "steps": {"a": {"run": "x", "resources": {"memory": "256MiB", "cpus": 0.5}}}},
]
BAD: list[dict[str, Any]] = [
    {},
    {"name": "X y", "steps": {"a": {"run": "x"}}},
    {"name": "x", "steps": {}},
    {"name": "x", "steps": {"a b": {"run": "x"}}},
    {"name": "x", "steps": {"a": {}}},
    {"name": "x", "steps": {"a": {"run": 5}}},
    {"name": "x", "steps": {"a": {"run": "x", "privileged": True}}},
    {"name": "x", "steps": {"a": {"run": "x", "timeout": 5}}},
    {"name": "x", "steps": {"a": {"run": "x", "timeout": "5 minutes"}}},
    {"name": "x", "steps": {"a": {"run": "x", "resources": {"memory": "1M"}}}},
    {"name": "x", "steps": {"a": {"run": "x", "effects": "some"}}},
    {"name": "x", "steps": {"a": {"run": "x", "mounts": ["a"]}}},
    {"name": "x", "steps": {"a": {"run": "x"}}, "extra": 1},
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    schema = json_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("sample", GOOD)
def test_a_good_workflow_fits_the_schema(
    validator: jsonschema.Draft7Validator, sample: dict[str, Any]
) -> None:
    assert [each.message for each in validator.iter_errors(sample)] == []


@pytest.mark.parametrize("sample", BAD)
def test_a_bad_workflow_does_not_fit_the_schema(
    validator: jsonschema.Draft7Validator, sample: dict[str, Any]
) -> None:
    assert list(validator.iter_errors(sample))
