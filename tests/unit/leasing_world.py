"""A source that makes values for one attempt, with a folder as its server: any process can look, and revoke."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runner.app import App
from runner.clock import SystemClock
from runner.errors import PolicyDenied, SourceUnavailable
from runner.vault.bindings import Bindings
from runner.vault.lease import Holder, Lease, Minted
from runner.vault.sources.env import EnvSource
from runner.vault.sources.store import StoreSource

if TYPE_CHECKING:
    from pathlib import Path

    from runner.settings import Settings


@dataclass
class LeaseServer:
    """``live`` and ``ended`` leases as files; ``down`` while the file of that name is there."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("live", "ended", "renewed"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def down(self) -> bool:
        return (self.folder / "down").exists()

    @down.setter
    def down(self, value: bool) -> None:
        if value:
            (self.folder / "down").touch()
        else:
            (self.folder / "down").unlink()

    def names(self, state: str) -> list[str]:
        return sorted(path.name for path in (self.folder / state).iterdir())

    @property
    def minted(self) -> list[str]:
        return sorted({*self.names("live"), *self.names("ended")})

    def accepts(self, value: bytes) -> bool:
        """Whether a value lets anybody in: a password is good while its lease lives."""
        found = [json.loads((self.folder / "live" / name).read_text()) for name in self.names("live")]
        return any(each["password"] == value.decode() and each["expires"] > time.time() for each in found)


class LeasingFake:
    """``lease:ROLE``; gives ``user`` and ``password``, grants at most ``most`` seconds at a time."""

    def __init__(self, server: LeaseServer, most: float = 3600.0) -> None:
        self.server, self.most = server, most

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        self._answer()
        name, expires = f"{reference}-{os.urandom(4).hex()}", time.time() + min(ttl, self.most)
        values = {"user": f"user-{name}", "password": f"password-{os.urandom(8).hex()}"}
        kept = {**values, "expires": expires, "holder": asdict(holder), "ttl": ttl}
        (self.server.folder / "live" / name).write_text(json.dumps(kept))
        return Minted({key: value.encode() for key, value in values.items()}, Lease(name, expires))

    def renew(self, reference: str, lease: Lease, ttl: float) -> Lease:
        del reference
        self._answer()
        if lease.id not in self.server.names("live"):
            raise PolicyDenied(f"the lease {lease.id} has ended")
        path, expires = self.server.folder / "live" / lease.id, time.time() + min(ttl, self.most)
        path.write_text(json.dumps({**json.loads(path.read_text()), "expires": expires}))
        (self.server.folder / "renewed" / f"{lease.id}.{time.time_ns()}").touch()
        return Lease(lease.id, expires)

    def revoke(self, reference: str, lease: Lease) -> None:
        del reference
        self._answer()
        path = self.server.folder / "live" / lease.id
        if path.exists():
            path.rename(self.server.folder / "ended" / lease.id)

    def reclaim(self, reference: str, holder: Holder) -> None:
        self._answer()
        for name in self.server.names("live"):
            if json.loads((self.server.folder / "live" / name).read_text())["holder"] == asdict(holder):
                self.revoke(reference, Lease(name, 0))

    def _answer(self) -> None:
        if self.server.down:
            raise SourceUnavailable("the server of leases does not answer", cure="start it")


class LeasingApp(App):
    """Runner with the source ``lease:`` beside two of its own."""

    def __init__(self, settings: Settings, server: LeaseServer) -> None:
        super().__init__(settings)
        self._settings_here, self.server, self._source = settings, server, LeasingFake(server)

    def bindings(self) -> Bindings:
        store = self.secret_store()
        sources = {"lease": self._source, "store": StoreSource(store), "env": EnvSource()}
        return Bindings(self._settings_here.config, store, SystemClock(), sources)
