"""The JSON Schema (draft-07) of a workflow file, from the same models that load it."""

from __future__ import annotations

from typing import Any

from runner.workflow.model import Workflow


def json_schema() -> dict[str, Any]:
    """Return the schema; editors and ``runner schema`` show the same keys that the loader takes."""
    schema = _draft7(Workflow.model_json_schema(by_alias=True))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Runner workflow",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _draft7(node: Any) -> Any:  # noqa: ANN401 - a piece of a schema
    if isinstance(node, list):
        return [_draft7(each) for each in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        return {"$ref": node["$ref"].replace("#/$defs/", "#/definitions/")}
    result = {("definitions" if key == "$defs" else key): _draft7(value) for key, value in node.items()}
    if "patternProperties" in result:
        result["additionalProperties"] = False
    return result


def keys_at(schema: dict[str, Any], loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that a mapping at this location may have; unknown parts are passed over."""
    nodes = [schema]
    for part in loc:
        nodes = [child for node in nodes for child in _children(schema, node, part)] or nodes
    return sorted(
        {key for node in nodes for each in _options(schema, node) for key in each.get("properties", {})}
    )


def _options(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _options(schema, schema["definitions"][node["$ref"].rsplit("/", 1)[1]])
    choices = [*node.get("anyOf", ()), *node.get("allOf", ())]
    return [node, *(each for choice in choices for each in _options(schema, choice))]


def _children(schema: dict[str, Any], node: dict[str, Any], part: str | int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in _options(schema, node):
        if isinstance(part, int):
            found += [each["items"]] if isinstance(each.get("items"), dict) else []
        elif part in each.get("properties", {}):
            found.append(each["properties"][part])
        else:
            found += list(each.get("patternProperties", {}).values())
            found += (
                [each["additionalProperties"]] if isinstance(each.get("additionalProperties"), dict) else []
            )
    return found
