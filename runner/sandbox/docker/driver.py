"""The Docker Engine as a driver: sandboxes as hardened containers, under runc or gVisor."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace
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
    await_start,
    begin_container,
    create_container,
    remove_container,
)
from runner.sandbox.docker.request import (
    Identity,
    Setting,
    container_name,
    container_request,
)
from runner.sandbox.hosts import HOSTS
from runner.sandbox.init.binary import path_for
from runner.sandbox.seccomp import docker_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.sandbox.base import SandboxSpec
    from runner.sandbox.docker.api import Question
    from runner.sandbox.docker.removals import Removals
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


class DockerDriver:
    """Makes sandboxes on one engine; ``state`` is the state folder's random id, ``runtime`` runc or runsc."""

    parks = True  # a container takes long to start: make it ahead

    def __init__(self, *, state: str, runtime: str = "runc", name: str = "docker") -> None:
        self.name = name
        self._state = state
        self._runtime = runtime
        self._asked: Question | None = None
        self._lock = threading.Lock()
        self._volumes: dict[str, tuple[str, ...]] = {}
        self._known_setting: Setting | None = None

    @cached_property
    def _api(self) -> EngineApi:
        return EngineApi(engine_address(os.environ))

    @cached_property
    def _removals(self) -> Removals:
        from runner.sandbox.docker.removals import (
            Removals,
        )  # loads while the engine starts the first container

        return Removals()

    def greet(self) -> None:
        """Ask the engine what it is, which takes it a while: ``check`` takes the answer."""
        if "_info" not in self.__dict__:
            self._asked = self._api.begin("GET", "/info")

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
        asked, self._asked = self._asked or self._api.begin("GET", "/info"), None
        found: dict[str, Any] = asked.need("describe itself")
        return found

    def create(self, spec: SandboxSpec) -> DockerSandbox:
        """Create and start a container; returns when its PID 1 waits, or when the engine says so."""
        return self.begin(spec)()

    def begin(self, spec: SandboxSpec) -> Callable[[], DockerSandbox]:
        """Create a container and ask for its start; return what waits for that, to be called once."""
        setting = self._setting()
        volumes = self._image_volumes(spec.image.reference or spec.image.digest)
        folder = AttemptFolder(spec.directory, spec.limits, setting.uid, setting.gid)
        folder.prepare()
        with _releasing(folder):
            request = container_request(spec, setting, volumes, self._extra(spec, folder))
            container = create_container(self._api, container_name(self._state, spec), request)
            running = replace(begin_container(self._api, container), guarded=self._runtime == "runc")

        def wait() -> DockerSandbox:
            from runner.sandbox.docker.sandbox import DockerSandbox  # loads while the engine starts it

            with _releasing(folder):
                await_start(self._api, running)
            return DockerSandbox(spec, self._api, running, folder, self._removals)

        return wait

    def _extra(self, spec: SandboxSpec, folder: AttemptFolder) -> tuple[tuple[Path, str], ...]:
        """Make the files of the attempt's own; return what is to be mounted, and where."""
        led = folder.lead_out(
            spec, shared=self._runtime == "runc"
        )  # gVisor's kernel shares no socket with ours
        targets = {*(target for _, target in led), *(mount.target for mount in spec.mounts)}
        return led if HOSTS in targets else (*led, folder.place_hosts())

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove containers of our state folder whose run nobody drives; return their names."""
        removed = []
        for found in self._api.containers(f"runner.state={self._state}"):
            if not is_live(found["Labels"].get("runner.run", "")):
                remove_container(self._api, found["Id"])
                removed.append(str(found["Names"][0]).removeprefix("/"))
        return tuple(sorted(removed))

    def close(self) -> None:
        """Wait for every removal."""
        if self._asked:
            self._asked.settle()
        if "_removals" in self.__dict__:
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


@contextmanager
def _releasing(folder: AttemptFolder) -> Iterator[None]:
    """Give the attempt's folder back when its container cannot be had."""
    try:
        yield
    except SandboxError:
        folder.release()
        raise


def _gaps(info: dict[str, Any]) -> tuple[Gap, ...]:
    gaps = [Gap(what, why, _CURE) for what, key, why in _LIMITS if info.get(key) is False]
    options = " ".join(info.get("SecurityOptions") or ())
    if "seccomp" not in options:
        gaps.append(Gap("seccomp", "the engine was built without seccomp", "install another build"))
    if "rootless" in options or "userns" in options:
        gaps.append(Gap("outputs", "the engine maps user ids, so that steps cannot write /out", _USERS_CURE))
    return tuple(gaps)
