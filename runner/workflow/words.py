"""pydantic's findings in plain words, each at its place in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.workflow.nodes import MOST_PROBLEMS, Document, Finding
from runner.workflow.schema import json_schema, keys_at
from runner.workflow.suggest import suggest

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

NEVER = {
    "privileged": "full rights on the machine",
    "network_mode": "the host's network",
    "network": "the host's network",
    "networks": "the host's network",
    "ports": "a port of the host",
    "volumes": "host folders that can be written",
    "volume": "host folders that can be written",
    "cap_add": "capabilities",
    "capabilities": "capabilities",
    "devices": "devices",
    "device": "devices",
    "user": "another user",
    "pid": "the host's processes",
    "ipc": "the host's shared memory",
    "userns_mode": "the host's users",
    "security_opt": "a weaker sandbox",
    "seccomp": "a weaker sandbox",
    "apparmor": "a weaker sandbox",
    "sysctls": "kernel settings",
    "runtime": "another runtime",
    "docker_args": "engine options",
    "extra_hosts": "other names for hosts",
}
_INSTEAD = {
    "volumes": 'mounts: ["SOURCE:TARGET"] gives a read-only snapshot',
    "network": 'egress: ["https://host"] opens one host',
    "network_mode": 'egress: ["https://host"] opens one host',
}
_KINDS = {
    "string_type": "text (quote it)",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}
_LOWER = ("Input should be ", "Value error, ", "Assertion failed, ")


def translate(error: ValidationError, document: Document) -> list[Finding]:
    """Return at most 100 findings, one for each place, in the author's words."""
    grouped: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False, include_input=True)[: 4 * MOST_PROBLEMS]:
        extra = (detail["loc"][-1],) if detail["type"] in {"missing", "extra_forbidden"} else ()
        grouped.setdefault((*known_path(document, detail["loc"]), *map(str, extra)), []).append(detail)
    schema = json_schema()
    return [_finding(details, document, schema) for details in list(grouped.values())[:MOST_PROBLEMS]]


def known_path(document: Document, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the path in the file of a pydantic location, without the parts that only the model has."""
    path: tuple[str | int, ...] = ()
    for part in loc:
        if (*path, part) in document.values:
            path = (*path, part)
    return path


def _finding(details: list[ErrorDetails], document: Document, schema: dict[str, Any]) -> Finding:
    first = details[0]
    path = known_path(document, first["loc"])
    at_key = first["type"] in {"extra_forbidden", "missing"} or first["loc"][-1:] == ("[key]",)
    place = document.values[path]
    if at_key:
        place = document.keys.get(path, place)
    if first["type"] == "extra_forbidden":
        return _unknown(first, place, schema)
    if first["type"] == "literal_error":
        hint = suggest(str(first["input"]), str(first["ctx"]["expected"]).replace("'", "").split(", "))
        return Finding(place, _sentence(details), hint)
    return Finding(place, _sentence(details))


def _unknown(detail: ErrorDetails, place: tuple[int, int], schema: dict[str, Any]) -> Finding:
    key = str(detail["loc"][-1])
    known = keys_at(schema, detail["loc"][:-1])
    if key in NEVER:
        message = f"{key} is never possible: a step does not get {NEVER[key]}"
        return Finding(place, message, _INSTEAD.get(key, "remove it"))
    shown = key if len(key) <= 60 else f"{key[:60]}…"  # noqa: PLR2004 - a readable line
    return Finding(place, f"unknown key {shown}", suggest(key, known) or _known(known))


def _known(keys: list[str]) -> str:
    return f"known: {', '.join(sorted(keys))}" if keys else ""


def _sentence(details: list[ErrorDetails]) -> str:
    first = details[0]
    name = str(first["loc"][-1]) if first["loc"] else "the file"
    if first["type"] == "missing":
        return f"{name} is missing"
    if first["loc"][-1:] == ("[key]",):
        return f"{_short(first['input'])} cannot be a name here: use letters, digits, _ and -"
    words = list(dict.fromkeys(_words(each) for each in details))
    return " or ".join(words) if len(words) <= 5 else words[0]  # noqa: PLR2004 - a readable line


def _words(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind in _KINDS:
        return f"this must be {_KINDS[kind]}"
    if kind == "literal_error":
        return f"{_short(detail['input'])} is not one of {detail['ctx']['expected']}"
    if kind == "string_pattern_mismatch":
        return f"{_short(detail['input'])} is not allowed: use lower-case letters, digits and -"
    if kind == "too_long":
        return f"there are more than {detail['ctx']['max_length']} of these"
    if kind == "too_short":
        return "there must be at least one of these"
    message = detail["msg"]
    for start in _LOWER:
        message = message.removeprefix(start)
    return message if detail["msg"].startswith("Value error") else f"this must be {message}"


def _short(value: Any) -> str:  # noqa: ANN401 - whatever YAML gave
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - a readable line
