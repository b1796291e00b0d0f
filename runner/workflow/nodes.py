"""YAML 1.2 core schema as plain values with positions, bounded in size, depth and expansion.

libyaml only splits the text into nodes; what a scalar means is decided here: ``on`` and ``no`` are text,
``0o17`` is a number, ``12:30:00`` and ``2026-10-01`` are text. Tags and merge keys are refused.
Source: yaml.org/spec/1.2.2, chapter 10.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined, unused-ignore]

DEEPEST = 40
MOST_NODES = 100_000
MOST_PROBLEMS = 100
Path = tuple[str | int, ...]
Place = tuple[int, int]

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 18
_OWN_TAGS = frozenset({"plain", "quoted", "collection"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a place: line and column count from 1."""

    place: Place
    message: str
    hint: str = ""


class Refused(Exception):
    """The text cannot be read any further."""

    def __init__(self, finding: Finding) -> None:
        """Keep where and why."""
        super().__init__(finding.message)
        self.finding = finding


@dataclass(slots=True)
class Document:
    """The values of a file, and where each stands: ``values`` by path, ``keys`` where its key is."""

    data: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


class _Composer(CParser):  # type: ignore[misc, no-any-unimported, unused-ignore]
    """libyaml's parser, asking us what to think of each node."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.count = 0

    def descend_resolver(self, parent: Any, _index: Any) -> None:  # noqa: ANN401 - a node or None
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST:
            raise Refused(Finding(_place(parent), f"nested deeper than {DEEPEST} levels"))
        if self.count > MOST_NODES:
            raise Refused(Finding(_place(parent), f"more than {MOST_NODES} values"))

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def resolve(self, kind: type, _value: Any, implicit: Any) -> str:  # noqa: ANN401 - libyaml's flags
        if kind is not yaml.ScalarNode:
            return "collection"
        return "plain" if implicit[0] else "quoted"


def read(text: str) -> Document:
    """Return the document of a text; raises ``Refused`` when it is no YAML or too large."""
    try:
        root = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise Refused(Finding(place, _words(error))) from None
    except yaml.YAMLError as error:
        raise Refused(Finding((1, 1), f"this is not YAML: {str(error).splitlines()[0]}")) from None
    document = Document()
    if root is None:
        raise Refused(Finding((1, 1), "the file is empty"))
    document.data = _Conversion(document).value(root, (), 0)
    return document


def _words(error: yaml.MarkedYAMLError) -> str:
    text = ", ".join(part for part in (error.context, error.problem) if part)
    return f"this is not YAML: {text}"


def _place(node: Any) -> Place:  # noqa: ANN401 - a node or None
    return (node.start_mark.line + 1, node.start_mark.column + 1) if node is not None else (1, 1)


@dataclass(slots=True)
class _Conversion:
    document: Document
    count: int = 0

    def value(self, node: yaml.Node, path: Path, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        self.count += 1
        if self.count > MOST_NODES:
            raise Refused(Finding(_place(node), f"aliases make more than {MOST_NODES} values of this"))
        if depth > DEEPEST:
            raise Refused(
                Finding(_place(node), f"nested deeper than {DEEPEST} levels, or an alias of itself")
            )
        self.document.values[path] = _place(node)
        if node.tag not in _OWN_TAGS:
            self.found(node, f"tags such as {node.tag} are not allowed")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*path, n), depth + 1) for n, each in enumerate(node.value)]
        return self.plain(node) if node.tag == "plain" else node.value

    def mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.found(key, "a key is a word, not a list or a mapping")
                continue
            name = key.value
            if name == "<<" and key.tag == "plain":
                self.found(key, "merge keys (<<) are not allowed: YAML 1.2 has none", "use defaults")
                continue
            here = (*path, name)
            if name in result:
                self.found(key, f"{name} stands here twice", f"first in line {self.document.keys[here][0]}")
                continue
            self.document.keys[here] = _place(key)
            result[name] = self.value(value, here, depth + 1)
        return result

    def plain(self, node: yaml.Node) -> Any:  # noqa: ANN401 - any scalar
        text = node.value
        if text in _NULLS:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if text[0] not in "+-.0123456789":
            return text
        return self.number(node, text)

    def number(self, node: yaml.Node, text: str) -> str | float:
        whole, based = _INTEGER.fullmatch(text), _BASED.fullmatch(text)
        if _NO_NUMBER.fullmatch(text):
            self.found(node, f"{text} is not a number that anything here can use")
            return 0
        if not (whole or based or _FLOAT.fullmatch(text)):
            return text
        if (whole or based) and len(text) > _LONGEST_NUMBER:
            self.found(node, "the number is too long", "quote it if it is text")
            return 0
        if whole:
            return int(text)
        return int(text, 0) if based else self.fraction(node, text)

    def fraction(self, node: yaml.Node, text: str) -> float:
        number = float(text) if len(text) <= DEEPEST else float("inf")
        if number in {float("inf"), float("-inf")}:
            self.found(node, "the number is too large", "quote it if it is text")
            return 0.0
        return number

    def found(self, node: yaml.Node, message: str, hint: str = "") -> None:
        if len(self.document.findings) < MOST_PROBLEMS:
            self.document.findings.append(Finding(_place(node), message, hint))
