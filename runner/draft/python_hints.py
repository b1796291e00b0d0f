"""What a Python script's text says, by its syntax tree; nothing of it is run."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

from runner.draft.hints import Hints, places, variables

if TYPE_CHECKING:
    from collections.abc import Iterator

_READING = frozenset(
    {"requests.get", "requests.head", "httpx.get", "httpx.head", "session.get", "client.get"}
)
_MAYBE = frozenset({"urlopen", "urllib.request.urlopen", "request.urlopen", "urllib.request.urlretrieve"})
_VERBS = ("post", "put", "patch", "delete")
_CLIENTS = ("requests", "httpx", "session", "client", "s")
_DIRECT = frozenset(
    {
        *(
            "socket",
            "aiohttp",
            "websockets",
            "websocket",
            "paramiko",
            "asyncssh",
            "ftplib",
            "smtplib",
            "imaplib",
        ),
        *("psycopg", "psycopg2", "pymysql", "pymongo", "redis", "dns", "grpc", "kafka", "pika", "telnetlib"),
    }
)
_ENVIRONMENTS = frozenset({"os.environ.get", "os.getenv", "environ.get", "getenv"})
_STRINGS = 2_000
_LONGEST = 300


def python_hints(text: str, own: frozenset[str]) -> Hints:
    """Return what the text says; ``own`` are the modules that lie beside it. Nothing if it does not parse."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Hints()
    calls = [(_dotted(each.func), each) for each in nodes if isinstance(each, ast.Call)]
    imported = [found for each in nodes for found in _imported(each)]
    known = own | frozenset(sys.stdlib_module_names)
    strings = (each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return Hints(
        variables=variables([*_called(calls), *(found for each in nodes for found in _indexed(each))]),
        modules=places(imported, known),
        reading=places((name, call.lineno) for name, call in calls if _reads(name, call)),
        writing=places((name, call.lineno) for name, call in calls if _writes(name, call)),
        direct=places((name, line) for name, line in imported if name in _DIRECT),
        strings=tuple(sorted({each for each in strings if each and len(each) <= _LONGEST})[:_STRINGS]),
    )


def _dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def _called(calls: list[tuple[str, ast.Call]]) -> Iterator[tuple[str, int]]:
    for name, call in calls:
        if name in _ENVIRONMENTS and call.args and isinstance(call.args[0], ast.Constant):
            yield str(call.args[0].value), call.lineno


def _indexed(node: ast.AST) -> Iterator[tuple[str, int]]:
    if not (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)):
        return
    if isinstance(node.slice, ast.Constant) and _dotted(node.value) in {"os.environ", "environ"}:
        yield str(node.slice.value), node.lineno


def _imported(node: ast.AST) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Import):
        yield from ((each.name.split(".")[0], node.lineno) for each in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module.split(".")[0], node.lineno


def _reads(name: str, call: ast.Call) -> bool:
    return name in _READING or (name in _MAYBE and not _has_data(call))


def _writes(name: str, call: ast.Call) -> bool:
    owner, _, verb = name.rpartition(".")
    return (verb in _VERBS and owner.split(".")[-1] in _CLIENTS) or (name in _MAYBE and _has_data(call))


def _has_data(call: ast.Call) -> bool:
    return len(call.args) > 1 or any(each.arg == "data" for each in call.keywords)
