"""Limits that the kernel keeps per process and hands down: open files, cores, processes, private memory."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.sandbox.base import Limits

_CLONE_NEWNET = 0x40000000
_SETRESUID_SETRESGID = {"x86_64": (117, 119), "aarch64": (147, 149)}


def become(uid: int) -> None:
    """Give the calling *thread* alone the user and group ``uid``, for good; raises ``OSError``.

    The C library's ``setresuid`` would change every thread of this process, the bare system call does not.
    Without CAP_SYS_RESOURCE only a process of the same user may be limited, so the thread becomes that user.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    set_user, set_group = _SETRESUID_SETRESGID[platform.machine()]
    for call in (set_group, set_user):
        if libc.syscall(ctypes.c_long(call), *[ctypes.c_uint(uid)] * 3) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def allow_low_ports(pid: int) -> None:
    """Let any user listen on any port of the network of ``pid``, which the calling *thread* joins for good.

    Which network a path below ``/proc/sys/net`` means hangs on who opens it. Raises ``OSError``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(network, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(network)
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


def set_process_limits(pid: int, limits: Limits, without: frozenset[str]) -> None:
    """Limit the waiting PID 1 and all it will start; ``without`` names the controllers that are missing.

    Where no control group counts memory, each process alone is held to the limit. Raises ``OSError``.
    """
    chosen = [(resource.RLIMIT_NOFILE, limits.files), (resource.RLIMIT_CORE, 0)]
    if "memory" in without:
        chosen.append((resource.RLIMIT_DATA, limits.memory))
    if "pids" in without:
        chosen.append((resource.RLIMIT_NPROC, limits.pids))
    for kind, value in chosen:
        hard = resource.prlimit(pid, kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(pid, kind, (allowed, allowed))
