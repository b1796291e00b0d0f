"""A sandbox as the engine's create request: a pure function, so that its hardening can be read and compared.

Field reference: https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerCreate
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from runner.sandbox.base import Limits, SandboxSpec

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INIT = "/.runner/init"
_SECRETS = 1024 * 1024
_MIN_MEMORY = 6 * 1024 * 1024
_SENTRY_THREADS = 512


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: the state folder's random id, this boot's id, and this process's id."""

    state: str
    boot: str
    pid: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all sandboxes of a driver, as far as the request needs it.

    ``uid`` and ``gid`` are the step's; ``init`` is the host's path of PID 1; ``seccomp`` the profile's JSON.
    """

    identity: Identity
    runtime: str
    uid: int
    gid: int
    init: Path
    seccomp: str


def container_name(state: str, spec: SandboxSpec) -> str:
    """Return the one name that this attempt's container can have, and none of another runner of the run."""
    step = hashlib.sha256(f"{spec.directory.parent}/{spec.step}".encode()).hexdigest()[:12]
    phase = "" if spec.phase == "run" else f"{spec.phase}-"
    return f"runner-{state[:8]}-{spec.run}-{step}-{phase}{spec.attempt}"


def labels(identity: Identity, run: str, step: str, attempt: int) -> dict[str, str]:
    """Return the labels by which every container of ours can be found again."""
    return {
        "runner.run": run,
        "runner.step": step,
        "runner.attempt": str(attempt),
        "runner.state": identity.state,
        "runner.boot": identity.boot,
        "runner.pid": str(identity.pid),
    }


def container_request(
    spec: SandboxSpec, setting: Setting, volumes: tuple[str, ...], extra: tuple[tuple[Path, str], ...] = ()
) -> dict[str, Any]:
    """Return the request for one sandbox.

    ``volumes`` are the folders that the image declares as volumes: each is covered by a bounded tmpfs, else
    the engine would give the step unbounded disk. It knows a cover by the plain path alone: under ``/data/``
    it would still put a volume at ``/data``. ``extra`` are files of the attempt's own, as (source, target).
    """
    request = _base(spec.image.reference or spec.image.digest, setting)
    request["Labels"] = labels(setting.identity, spec.run, spec.step, spec.attempt)
    host = request["HostConfig"]
    host |= _limits(spec.limits)
    if setting.runtime != "runc":
        host |= _guest_processes(spec.limits)
    taken = {"/in", "/out", _INIT, *(mount.target for mount in spec.mounts)}
    scratch = {posixpath.normpath(f"/{folder.lstrip('/')}") for folder in volumes} - taken
    host["Tmpfs"] = _tmpfs(spec.limits, setting, scratch)
    host["Mounts"] += [
        _bind(str(spec.directory / "in"), "/in", writable=False),
        _bind(str(spec.directory / "out"), "/out", writable=True),
        *(_bind(str(mount.source), mount.target, writable=False) for mount in spec.mounts),
        *(_bind(str(source), target, writable=False) for source, target in extra),
    ]
    return request


def _base(image: str, setting: Setting) -> dict[str, Any]:
    """Return what is the same for every sandbox.

    With its network disabled a container has a network namespace of its own that its runtime makes, with a
    loopback alone. Without that word the engine would start itself anew, as a hook, to say the same: 80 ms.
    """
    return {
        "Image": image,
        "Entrypoint": [_INIT],
        "Cmd": [],
        "Env": [_PATH],
        "User": f"{setting.uid}:{setting.gid}",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "NetworkDisabled": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host(setting),
    }


def _host(setting: Setting) -> dict[str, Any]:
    return {
        "Runtime": setting.runtime,
        "NetworkMode": "none",
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={setting.seccomp}"],
        "ReadonlyRootfs": True,
        "Privileged": False,
        "IpcMode": "private",
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "Init": False,
        "OomKillDisable": False,
        "Mounts": [_bind(str(setting.init), _INIT, writable=False)],
    }


def _limits(limits: Limits) -> dict[str, Any]:
    memory = max(limits.memory, _MIN_MEMORY)
    return {
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": round(limits.cpus * 1_000_000_000),
        "PidsLimit": limits.pids + 1,  # PID 1 is ours
        "ShmSize": limits.shm,
        "Ulimits": _ulimits(limits.files),
    }


def _guest_processes(limits: Limits) -> dict[str, Any]:
    """Let gVisor count the step's processes: the host's controller would count the kernel's own threads."""
    processes = limits.pids + 1
    count = {"Name": "nproc", "Soft": processes, "Hard": processes}
    return {
        "PidsLimit": 4 * processes + _SENTRY_THREADS,
        "Ulimits": [*_ulimits(limits.files), count],
    }


def _ulimits(files: int) -> list[dict[str, Any]]:
    return [{"Name": "nofile", "Soft": files, "Hard": files}, {"Name": "core", "Soft": 0, "Hard": 0}]


def _tmpfs(limits: Limits, setting: Setting, volumes: set[str]) -> dict[str, str]:
    scratch = {folder: _options(limits.tmp, setting, "0700", "exec") for folder in sorted(volumes)}
    return scratch | {
        "/work": _options(limits.work, setting, "0700", "exec"),
        "/tmp": _options(limits.tmp, setting, "1777", "exec"),  # noqa: S108 - inside the sandbox
        "/run/secrets": _options(_SECRETS, setting, "0700", "noexec"),
    }


def _options(size: int, setting: Setting, mode: str, executable: str) -> str:
    owner = f"uid={setting.uid},gid={setting.gid}"
    return f"rw,nosuid,nodev,{executable},size={size},mode={mode},{owner}"


def _bind(source: str, target: str, *, writable: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": not writable,
        "BindOptions": {"Propagation": "rprivate"},
    }
