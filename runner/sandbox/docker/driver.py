"""The Docker Engine as a driver: sandboxes as hardened containers, under runc or gVisor."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runner.errors import SandboxError
from runner.sandbox.attempt_folder import AttemptFolder
from runner.sandbox.base import Capabilities, Gap
from runner.sandbox.docker import translate
from runner.sandbox.docker.api import EngineApi, engine_address
from runner.sandbox.docker.container import (
    Removals,
    Running,
    await_start,
    begin_container,
    create_container,
    remove_container,
    start_container,
)
from runner.sandbox.docker.request import (
    Identity,
    Setting,
    container_name,
    container_request,
    holder_name,
    holder_request,
)
from runner.sandbox.init.binary import path_for
from runner.sandbox.seccomp import docker_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.sandbox.base import SandboxSpec
    from runner.sandbox.docker.sandbox import DockerSandbox

_ROOTS_STEP = 10001
_LIMITS = (
    ("memory", "MemoryLimit", "the kernel's memory controller is off"),
    ("memory", "SwapLimit", "the kernel does not count swap, so a step may use swap beyond its memory"),
    ("cpus", "CpuCfsQuota", "the kernel's CPU bandwidth controller is off"),
    ("pids", "PidsLimit", "the kernel's process controller is off"),
)
_USERS_CURE = "use an engine without user id mapping, or --engine bubblewrap"
_CURE = "boot with the controller on (cgroup_enable=memory swapaccount=1), or use cgroup v2"


@dataclass(slots=True)
class _Lane:
    """Sandboxes that never run at the same time; from the second on they share the holder's loopback."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    created: int = 0
    holder: Running | None = None


class DockerDriver:
    """Makes sandboxes on one engine; ``state`` is the state folder's random id, ``runtime`` runc or runsc."""

    parks = True  # a container takes long to start: make it ahead

    def __init__(self, *, state: str, runtime: str = "runc", name: str = "docker") -> None:
        self.name = name
        self._state = state
        self._runtime = runtime
        self._removals = Removals()
        self._lock = threading.Lock()
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._volumes: dict[str, tuple[str, ...]] = {}
        self._known_setting: Setting | None = None

    @cached_property
    def _api(self) -> EngineApi:
        return EngineApi(engine_address(os.environ))

    def check(self) -> Capabilities:
        """Return the engine's version and gaps; raises ``EngineUnavailable``."""
        if "_info" in self.__dict__:  # what it is does not change, whether it answers does
            self._api.need("GET", "/version", "answer")
        runtimes = list(self._info.get("Runtimes") or {})
        if self._runtime not in runtimes:
            raise translate.missing_runtime(self._runtime, runtimes)
        return Capabilities(self.name, str(self._info.get("ServerVersion", "")), _gaps(self._info))

    @cached_property
    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api.need("GET", "/info", "describe itself")
        return found

    def create(self, spec: SandboxSpec) -> DockerSandbox:
        """Create and start a container; returns when its PID 1 waits, or when the engine says so."""
        return self.begin(spec)()

    def begin(self, spec: SandboxSpec) -> Callable[[], DockerSandbox]:
        """Create a container and ask for its start; return what waits for that, to be called once."""
        setting = self._setting()
        volumes = self._image_volumes(spec.image.reference or spec.image.digest)
        network = self._network(spec, setting)
        folder = AttemptFolder(spec.directory, spec.limits, setting.uid, setting.gid)
        folder.prepare()
        with self._undoing(spec, folder, network):
            # gVisor's kernel shares no socket with ours
            extra = folder.lead_out(spec, shared=self._runtime == "runc")
            request = container_request(spec, setting, network, volumes, extra)
            container = create_container(self._api, container_name(self._state, spec), request)
            running = replace(begin_container(self._api, container), guarded=self._runtime == "runc")

        def wait() -> DockerSandbox:
            from runner.sandbox.docker.sandbox import DockerSandbox  # loads while the engine starts it

            with self._undoing(spec, folder, network):
                await_start(self._api, running)
            return DockerSandbox(spec, self._api, running, folder, self._removals)

        return wait

    @contextmanager
    def _undoing(self, spec: SandboxSpec, folder: AttemptFolder, network: str) -> Iterator[None]:
        try:
            yield
        except SandboxError:
            folder.release()
            if network != "none":
                self._forget_lost_holder(spec)
            raise

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove containers of our state folder whose run nobody drives; return their names."""
        removed = []
        for found in self._api.containers(f"runner.state={self._state}"):
            if not is_live(found["Labels"].get("runner.run", "")):
                remove_container(self._api, found["Id"])
                removed.append(str(found["Names"][0]).removeprefix("/"))
        return tuple(sorted(removed))

    def close(self) -> None:
        """Remove the holders and wait for every removal."""
        with self._lock:
            lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            if lane.holder:
                self._drop(lane.holder)
        self._removals.finish()

    def _setting(self) -> Setting:
        with self._lock:
            if self._known_setting is None:
                root = os.geteuid() == 0
                boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
                self._known_setting = Setting(
                    identity=Identity(self._state, boot, os.getpid()),
                    runtime=self._runtime,
                    uid=_ROOTS_STEP if root else os.geteuid(),
                    gid=_ROOTS_STEP if root else os.getegid(),
                    init=path_for(str(self._info["Architecture"])),
                    seccomp=docker_profile(),
                )
            return self._known_setting

    def _image_volumes(self, reference: str) -> tuple[str, ...]:
        """Return the volumes that the image declares; raises ``ImageMissing``."""
        if reference not in self._volumes:
            image = self._api.need("GET", f"/images/{quote(reference, safe='')}/json", "find an image")
            declared = (image.get("Config") or {}).get("Volumes") or {}
            self._volumes[reference] = tuple(sorted(declared))
        return self._volumes[reference]

    def _network(self, spec: SandboxSpec, setting: Setting) -> str:
        """Return a loopback of its own for a lane's first sandbox, the holder's for those that follow."""
        if self._runtime != "runc":
            return "none"
        with self._lock:
            lane = self._lanes.setdefault((spec.run, spec.lane), _Lane())
        with lane.lock:
            lane.created += 1
            if lane.created == 1:
                return "none"
            if lane.holder is None:
                name, request = holder_name(self._state, spec), holder_request(spec, setting)
                lane.holder = start_container(self._api, create_container(self._api, name, request))
            return f"container:{lane.holder.container}"

    def _forget_lost_holder(self, spec: SandboxSpec) -> None:
        """Drop a holder that no longer runs, so that another attempt gets a new one."""
        lane = self._lanes.get((spec.run, spec.lane))
        if lane is None:
            return
        with lane.lock:
            holder = lane.holder
            if holder is None:
                return
            answer = self._api.ask("GET", f"/containers/{holder.container}/json")
            if not (isinstance(answer.body, dict) and answer.body.get("State", {}).get("Running")):
                lane.holder = None
                self._drop(holder)

    def _drop(self, holder: Running) -> None:
        holder.wire.close()
        holder.exit.close()
        self._removals.submit(lambda: remove_container(self._api, holder.container, holder.start))


def _gaps(info: dict[str, Any]) -> tuple[Gap, ...]:
    gaps = [Gap(what, why, _CURE) for what, key, why in _LIMITS if info.get(key) is False]
    options = " ".join(info.get("SecurityOptions") or ())
    if "seccomp" not in options:
        gaps.append(Gap("seccomp", "the engine was built without seccomp", "install another build"))
    if "rootless" in options or "userns" in options:
        gaps.append(Gap("outputs", "the engine maps user ids, so that steps cannot write /out", _USERS_CURE))
    return tuple(gaps)
