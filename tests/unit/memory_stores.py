"""Stores in memory, behind the same ports."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.engine.ports import Stores
from runner.errors import FenceLost, PolicyDenied, SourceUnavailable, StoreError
from runner.events import AttemptStarted, Event, Record
from runner.vault.mask import Masker
from runner.vault.secret import Secret

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from runner.engine.ports import SecretPort
    from runner.planning.plan import PlannedStep
    from runner.sandbox.egress.rules import Connection


@dataclass
class MemoryWay:
    """A way out that knows what its step will ask for."""

    network: MemoryNetwork
    report: Callable[[Connection], None]
    env: Mapping[str, str] = field(default_factory=lambda: {"HTTPS_PROXY": "http://127.0.0.1:3128"})
    files: Mapping[str, bytes] = field(default_factory=lambda: {"ca.crt": b"trusted"})
    is_open: bool = True

    def carry(self, outlet: int, connection: socket.socket) -> None:
        raise AssertionError(f"a scripted sandbox makes no connection {outlet} {connection}")

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            for each in self.network.asked:
                self.report(each)


@dataclass
class MemoryNetwork:
    """A network without hosts: every step asks for ``asked`` at its end."""

    asked: list[Connection] = field(default_factory=list)
    ways: list[MemoryWay] = field(default_factory=list)
    headers: list[dict[str, bytes]] = field(default_factory=list)
    closed: bool = False

    def open(
        self, step: PlannedStep, secrets: Mapping[str, SecretPort], report: Callable[[Connection], None]
    ) -> MemoryWay:
        added = {use.secret: secrets[use.secret].reveal() for use in step.secrets if use.as_header}
        self.headers.append(added)
        self.ways.append(MemoryWay(self, report))
        return self.ways[-1]

    def close(self) -> None:
        self.closed = True


@dataclass
class MemoryStores:
    """A journal, artifacts, logs and secrets in memory; ``fail_after`` breaks the journal after so many events."""

    folder: Path
    records: list[Record] = field(default_factory=list)
    logs: dict[tuple[str, int], bytearray] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)
    fail_after: int = 10**9
    successor: bool = False
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    noted: list[Record] = field(default_factory=list)
    away: int = 0
    closed: list[int] = field(default_factory=list)

    def append(self, events: Sequence[Event]) -> Sequence[Record]:
        heard = self.news()
        if len(self.records) >= self.fail_after:
            raise StoreError("the disk is full")
        start = len(self.records) + 1
        new = [Record(start + place, time.time(), "me", 1, event) for place, event in enumerate(events)]
        self.records += new
        return [*heard, *new]

    def record(self, events: Sequence[Event]) -> None:
        if len(self.records) + len(self.noted) >= self.fail_after:
            raise StoreError("the disk is full")
        for event in events:
            self.note(event)

    def confirm(self) -> None:
        if self.successor:
            raise FenceLost("another runner has taken the run over")

    def news(self) -> Sequence[Record]:
        new, self.noted = self.noted, []
        self.records += new
        return new

    def note(self, event: Event) -> None:
        seq = len(self.records) + len(self.noted) + 1
        self.noted.append(Record(seq, time.time(), "other", 1, event))

    def keep(self, path: Path) -> tuple[str, int]:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self.path(digest).write_bytes(data)
        return digest, len(data)

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def stores(self) -> Stores:
        return Stores(self, self, MemoryLogs(self.logs), MemorySecrets(self), Masker, self.network)


@dataclass
class MemoryLogs:
    """Logs as byte arrays."""

    logs: dict[tuple[str, int], bytearray]

    def open(self, step: str, attempt: int, phase: str, limit: int) -> MemoryLog:
        assert limit
        key = step if phase == "run" else f"{step}/{phase}"
        return MemoryLog(self.logs.setdefault((key, attempt), bytearray()))


@dataclass
class MemoryLog:
    """One log."""

    data: bytearray

    def write(self, stream: str, data: bytes) -> None:
        assert stream in {"stdout", "stderr"}
        self.data += data

    def close(self) -> None:
        pass


@dataclass
class MemorySecrets:
    """Secrets in a dict; others are not bound; the source is ``away`` for so many times."""

    stores: MemoryStores

    def open(self, name: str, attempt: AttemptStarted, ttl: float) -> Secret:
        del attempt, ttl
        if self.stores.away:
            self.stores.away -= 1
            raise SourceUnavailable("the source does not answer")
        if name not in self.stores.values:
            raise PolicyDenied(f"{name} is not bound for this workflow")
        return Secret(name, self.stores.values[name])

    def set_apart(self, path: Path, attempt: AttemptStarted) -> str:
        name = f"{attempt.step}.{attempt.attempt}.age"
        (self.stores.folder / name).write_bytes(path.read_bytes()[::-1])
        return name

    def close(self, attempt: AttemptStarted) -> None:
        self.stores.closed.append(attempt.attempt)
