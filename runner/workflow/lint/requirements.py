"""Python packages: a lock file that holds, and one for every script that says what it depends on."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import Problem
from runner.workflow.file import Unreadable, content_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from runner.workflow.lint.source import Source, Where
    from runner.workflow.locks import Pin
    from runner.workflow.model import Command, Mount, Step

_PYTHON = re.compile(r"(?:/usr(?:/local)?/bin/)?python3?(?:\.[0-9]+)?")
_FLAG = re.compile(r"-[A-Za-z]+")
_BLOCK = b"# /// script"


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of lock files, and of scripts whose own block asks for more."""
    looked = _Looked(source)
    for where, _, step in source.steps():
        pins = None
        if step.requirements:
            pins = yield from looked.lock((*where, "requirements"), step.requirements)
        for place, run, command in _commands(where, step):
            for script in _scripts(run):
                name, file = looked.host_file(script, command.mounts, step.mounts)
                if file and (pins is not None or not step.requirements):
                    yield from _script(source, place, (name, file), pins)


def _commands(where: Where, step: Step) -> Iterator[tuple[Where, str | tuple[str, ...], Command]]:
    yield (*where, "run"), step.run, step
    if step.staging and step.staging.run is not None:
        yield (*where, "staging", "run"), step.staging.run, step
    if step.compensate and not (step.compensate.sandbox or step.compensate.image):
        yield (*where, "compensate", "run"), step.compensate.run, step.compensate


def _script(
    source: Source, where: Where, script: tuple[str, bytes], pins: tuple[Pin, ...] | None
) -> Iterator[Problem]:
    from runner.workflow.locks import lock_command, script_needs, uncovered

    name, content = script
    make, lock = lock_command(name)
    try:
        needs = script_needs(content.decode(errors="replace"))
    except ValueError as error:
        yield source.error(where, f"{name}: {error}")
        return
    if pins is None:
        if needs:
            hint = f"`{make}`, then requirements: {lock}"
            yield source.error(
                where, f"{name} depends on {', '.join(needs)}, and no lock file holds it", hint
            )
        return
    for words in uncovered(needs, pins):
        yield source.error(where, f"{name}: {words}", f"make the lock file anew: `{make}`")


def _scripts(run: str | tuple[str, ...]) -> Iterator[str]:
    """Yield the Python scripts that a command plainly runs, by their paths inside."""
    for words in map(_words, run.splitlines()) if isinstance(run, str) else (list(run),):
        if words and _PYTHON.fullmatch(words[0]):
            rest = (word for word in words[1:] if not _FLAG.fullmatch(word))
            script = next(rest, "")
            if script.startswith("/"):
                yield script


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that the next line closes
        return []


@dataclass(slots=True)
class _Looked:
    """The project's files, each read once."""

    source: Source
    locks: dict[str, tuple[Pin, ...] | None] = field(default_factory=dict)
    scripts: dict[Path, bytes] = field(default_factory=dict)

    def lock(self, where: Where, path: str) -> Generator[Problem, None, tuple[Pin, ...] | None]:
        """Yield what is wrong in a lock file, where it first is named; return what it pins."""
        if path not in self.locks:
            self.locks[path] = None
            yield from self._read(where, path)
        return self.locks[path]

    def _read(self, where: Where, path: str) -> Iterator[Problem]:
        from runner.workflow.locks import BadLock, read_lock

        file = self._inside(path)
        if file is None:  # the paths' own rule says it
            return
        try:
            self.locks[path] = read_lock(content_of(file))
        except Unreadable as error:
            yield self.source.error(where, f"{path}: {error.message}")
        except BadLock as bad:
            shown = str(self.source.file.parent / path)
            yield from (Problem(shown, *each.place, each.message) for each in bad.findings)

    def host_file(
        self, script: str, own: tuple[Mount, ...] | None, inherited: tuple[Mount, ...] | None
    ) -> tuple[str, bytes]:
        """Return a script's path in the project, and its content where it has a block; else nothing."""
        mounts = (*self.source.model.defaults.mounts, *((inherited if own is None else own) or ()))
        for mount in reversed(mounts):
            target = mount.target.rstrip("/")
            if script == target or script.startswith(f"{target}/"):
                name = f"{mount.source.rstrip('/')}{script.removeprefix(target)}".removeprefix("./")
                file = self._inside(name)
                return name, self._content(file) if file else b""
        return "", b""

    def _content(self, file: Path) -> bytes:
        if file not in self.scripts:
            try:
                content = content_of(file)
            except Unreadable:
                content = b""
            self.scripts[file] = content if _BLOCK in content else b""
        return self.scripts[file]

    def _inside(self, path: str) -> Path | None:
        whole = (self.source.file.absolute().parent / path).resolve()
        return whole if whole.is_relative_to(self.source.project) and whole.is_file() else None
