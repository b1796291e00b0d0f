"""Lock files of Python packages: pip's format, every line pinned and hashed, and nothing else in it.

Formats: pip's requirements file, PEP 508 (requirements), PEP 440 (versions), PEP 723 (a script's own block).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from runner.workflow.nodes import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGEST = 1 << 20
_MOST = 5000
_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HASH = re.compile(r"--hash=([a-z0-9]+):([0-9a-f]+)")
_COMMENT = re.compile(r"(^|\s)#.*")
MAKE_LOCK = "uv pip compile --universal --python-version 3.11 --generate-hashes --only-binary :all:"
_OPEN, _CLOSE = "# /// script", "# ///"
_OPTIONS = {
    "-r": "a lock file stands alone: copy the lines of the other file into it",
    "-c": "a lock file stands alone: its versions are exact already",
    "-e": "an editable install runs the package's own code: mount a folder instead",
}
_OTHER = "the index is the operator's, and so is how packages are installed: take the line out"


@dataclass(frozen=True, slots=True)
class Pin:
    """One package: its normalized ``name``, its ``version``, and the one spelling of its ``line``."""

    name: str
    version: str
    line: str


class BadLock(ValueError):
    """A lock file that is none; ``findings`` say where and why."""

    def __init__(self, findings: list[Finding]) -> None:
        """Take all that is wrong at once."""
        self.findings = findings
        super().__init__("; ".join(f"line {each.place[0]}: {each.message}" for each in findings))


def read_lock(data: bytes) -> tuple[Pin, ...]:
    """Return what a lock file pins, sorted; raises ``BadLock``."""
    try:
        lines = list(_logical(_text(data)))
    except ValueError as error:
        raise BadLock([Finding((1, 1), str(error))]) from None
    pins, findings, seen = set[Pin](), list[Finding](), dict[str, int]()
    for number, line in lines:
        try:
            pin, marked = _pin(line)
            if not marked and pin.name in seen:
                raise ValueError(f"{pin.name} stands in line {seen[pin.name]} already")  # noqa: TRY301
        except ValueError as error:
            findings.append(Finding((number, 1), str(error)))
            continue
        seen.setdefault(pin.name, number)
        pins.add(pin)
    if not lines:
        findings.append(Finding((1, 1), "the lock file names no package"))
    if findings:
        raise BadLock(findings)
    return tuple(sorted(pins, key=lambda pin: pin.line))


def lock_text(pins: tuple[Pin, ...]) -> str:
    """Return the one text of what is pinned: what an installer reads is what was checked, and no more."""
    return "".join(f"{pin.line}\n" for pin in pins)


def lock_command(source: str) -> tuple[str, str]:
    """Return how the lock file of a script is made, and what it is then called."""
    lock = f"{source}.txt"
    return f"{MAKE_LOCK} {shlex.quote(source)} -o {shlex.quote(lock)}", lock


def script_needs(script: str) -> list[str]:
    """Return the dependencies in a script's block of metadata; raises ``ValueError`` for a broken block."""
    import tomllib

    lines = [line.rstrip() for line in script.splitlines()]
    if _OPEN not in lines:
        return []
    start = lines.index(_OPEN) + 1
    block = []
    for line in lines[start:]:
        if line != "#" and not line.startswith("# "):
            break
        block.append(line[2:])
    if "///" not in block:
        raise ValueError(f"its block is not closed: {_CLOSE} is missing")
    last = len(block) - 1 - block[::-1].index("///")
    try:
        needs = tomllib.loads("\n".join(block[:last])).get("dependencies", [])
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"its block is not TOML: {error}") from None
    if not isinstance(needs, list) or not all(isinstance(each, str) for each in needs):
        raise ValueError("its dependencies are no list of requirements")
    return needs


def uncovered(needs: list[str], pins: tuple[Pin, ...]) -> Iterator[str]:
    """Yield in words what a script depends on and the lock file does not hold."""
    by_name: dict[str, list[Pin]] = {}
    for pin in pins:
        by_name.setdefault(pin.name, []).append(pin)
    for need in needs:
        try:
            wanted = Requirement(need)
        except InvalidRequirement as error:
            yield f"{need!r} is no requirement: {error}"
        else:
            yield from _uncovered(wanted, by_name)


def _uncovered(wanted: Requirement, by_name: Mapping[str, list[Pin]]) -> Iterator[str]:
    found = by_name.get(canonicalize_name(wanted.name), [])
    if wanted.url:
        yield f"{wanted} is a URL, and packages come from the operator's index alone"
    elif not found and not wanted.marker:
        yield f"{wanted} is not in the lock file"
    for pin in found:
        if not wanted.specifier.contains(pin.version, prereleases=True):
            yield f"{wanted} does not allow {pin.name} {pin.version} of the lock file"


def _text(data: bytes) -> str:
    if len(data) > LARGEST:
        raise ValueError("the lock file is larger than 1 MiB")
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise ValueError("the lock file is not UTF-8") from None


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line that says something, joined with those that it goes on in, and its number."""
    start, parts, count = 0, list[str](), 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = _COMMENT.sub("", raw.rstrip("\r")).strip()
        start = start or number
        parts.append(line.removesuffix("\\"))
        if line.endswith("\\"):
            continue
        whole = " ".join(parts).strip()
        if whole:
            count += 1
            yield start, whole
        start, parts = 0, []
        if count > _MOST:
            raise ValueError(f"the lock file names more than {_MOST} packages")
    if any(map(str.strip, parts)):
        raise ValueError("the last line of the lock file ends in \\: the file is cut")


def _pin(line: str) -> tuple[Pin, bool]:
    """Return what a line pins, and whether only where its marker holds; raises ``ValueError`` in words."""
    if not (line.isascii() and line.isprintable()):  # what one program takes for a space, another does not
        raise ValueError("a character that is not printable ASCII stands outside a comment")
    text, *options = re.split(r"\s+(?=-)", line)
    if text.startswith("-"):
        raise ValueError(f"{text[:40]} is not for a lock file: {_OPTIONS.get(text[:2], _OTHER)}")
    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        raise ValueError(f"{text[:80]} is no package: write NAME==VERSION --hash=sha256:…") from None
    name, version = canonicalize_name(wanted.name), _version(wanted)
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    marker = f" ; {wanted.marker}" if wanted.marker else ""
    hashes = " ".join(sorted({_hash(name, option) for option in options}))
    if not hashes:
        raise ValueError(f"{name} has no hash: `uv pip compile --generate-hashes` writes them")
    return Pin(name, version, f"{name}{extras}=={version}{marker} {hashes}"), bool(marker)


def _version(wanted: Requirement) -> str:
    if wanted.url:
        raise ValueError(f"{wanted.name} comes from {wanted.url}: packages come from the index alone")
    specifiers = list(wanted.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==":
        raise ValueError(f"{wanted.name} is not pinned: write {wanted.name}==VERSION")
    try:
        return str(Version(specifiers[0].version))
    except InvalidVersion:
        raise ValueError(f"{wanted.name}=={specifiers[0].version} is no one version") from None


def _hash(name: str, option: str) -> str:
    match = _HASH.fullmatch(option)
    if not match:
        raise ValueError(f"{name}: {option[:40]} is not for a lock file: {_OTHER}")
    if _DIGITS.get(match[1]) != len(match[2]):
        raise ValueError(f"{name}: {match[1]} is no hash to rely on: use sha256")
    return option
