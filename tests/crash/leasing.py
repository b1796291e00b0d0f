"""A project whose step holds a lease, driven by processes that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import Command, Done, make_command, until
from leasing_world import LeaseServer

from runner.clock import SystemClock
from runner.store.journal import Journal
from runner.vault.binding import Binding
from runner.vault.bindings import Bindings
from runner.vault.store import SecretStore

if TYPE_CHECKING:
    from runner.events import Event

HERE = Path(__file__).parent
WORKFLOW = """
name: {name}
secrets: [db]
steps:
  load:
    run: {run}
    timeout: 60s
    secrets: {{DB: db}}
"""
SLEEPS = "echo ready; sleep 50; cat /run/secrets/DB > /dev/null"


@dataclass
class LeasedProject:
    """One state folder, one server of leases."""

    command: Command
    server: LeaseServer

    @classmethod
    def new(cls, folder: Path) -> LeasedProject:
        made = cls(make_command(folder), LeaseServer(folder / "server"))
        made.bind(Binding("db", "lease:ro#password"))
        return made

    @property
    def config(self) -> Path:
        return self.command.home.parent / "config" / "runner"

    def bind(self, binding: Binding) -> None:
        store = SecretStore(self.command.home, self.config)
        scheme = binding.scheme
        Bindings(self.config, store, SystemClock(), {scheme: None}).bind(binding)  # type: ignore[dict-item]

    def begin(self, act: str, *rest: str, kill: str = "-") -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(HERE), str(HERE.parent / "unit"), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, str(HERE / "lease_runner.py"), str(self.server.folder), kill, act, *rest],
            cwd=self.command.project,
            env={**self.command.environment(), "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def act(self, act: str, *rest: str, kill: str = "-") -> Done:
        child = self.begin(act, *rest, kill=kill)
        out, err = child.communicate(timeout=60)
        return Done(child.returncode, out.decode(), err.decode())

    def workflow(self, run: str = SLEEPS, name: str = "digest") -> str:
        return self.command.workflow(WORKFLOW.format(name=name, run=json.dumps(run)), f"{name}.yaml")

    def running(self, name: str = "digest") -> subprocess.Popen[bytes]:
        """Return a run whose step has begun and holds its lease."""
        child = self.begin("start", self.workflow(name=name))
        until(child, "ready")
        return child

    def events(self, run: str = "latest") -> list[Event]:
        with Journal(self.command.home / "journal.db", SystemClock()) as journal:
            return [record.event for record in journal.records(journal.find(run))]

    def leases(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.command("secrets", "leases", "--json").out)
        return found
