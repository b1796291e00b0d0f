"""Lines of YAML with their evidence beside them, whatever words the evidence is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_WIDEST = 44
_LONGEST = 240
_LAST_SHORT = 0xFFFF
_NAME = 200


def is_nameable(name: str) -> bool:
    """Whether a file's name or relative path can stand in a mount or under ``out``, as it is."""
    plain = name.isprintable() and ":" not in name and "${{" not in name and not set("*?[") & set(name)
    return bool(name) and plain and len(name) <= _NAME


def quoted(text: str) -> str:
    """Return a YAML scalar that is this text and nothing else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def listed(texts: list[str]) -> str:
    """Return a YAML list on one line."""
    return f"[{', '.join(map(quoted, texts))}]"


def harmless(text: str) -> str:
    """Return a text as one line of a comment: nothing in it can end the line or steer a terminal."""
    shown = "".join(each if each.isprintable() else _code(each) for each in text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


@dataclass(slots=True)
class Page:
    """The lines so far: text and evidence."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, text: str, evidence: str = "") -> None:
        """Add a line of YAML; its text is ours, its evidence anybody's."""
        self.lines.append((text, harmless(evidence)))

    def note(self, indent: str, words: str) -> None:
        """Add a line that is only a comment."""
        self.lines.append((f"{indent}# {harmless(words)}", ""))

    def block(self, indent: str, key: str, commands: list[str], evidence: str) -> None:
        """Add commands for the shell, each one printable line, as a literal block."""
        self.add(f"{indent}{key}: |", evidence)
        for command in commands:
            self.add(f"{indent}  {command}")

    def text(self) -> str:
        """Return the page, its evidence aligned."""
        told = [len(text) for text, evidence in self.lines if evidence]
        column = min(max(told, default=0), _WIDEST)
        whole = (f"{text:<{column}}  # {evidence}" if evidence else text for text, evidence in self.lines)
        return "\n".join(whole) + "\n"


def _escaped(each: str) -> str:
    if each in '"\\':
        return f"\\{each}"
    return each if each.isprintable() else _code(each)


def _code(each: str) -> str:
    number = ord(each)
    if number < 0x100:  # noqa: PLR2004 - two digits
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _LAST_SHORT else f"\\U{number:08x}"
