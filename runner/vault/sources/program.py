"""One run of a program of the operator's whose standard output is a secret."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMIT = 1 << 20


def output(argv: Sequence[str], seconds: float) -> bytes:
    """Return what the program wrote, at most 1 MiB.

    It runs in ``/``: in a project's folder a relative name would be the author's. What it says on its
    standard error is thrown away, since nobody knows what stands in it. Raises ``PolicyDenied`` when it
    cannot be started or says too much, ``SourceUnavailable`` when it fails or takes longer than ``seconds``.
    """
    try:
        child = subprocess.Popen(
            argv,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a command"
        raise PolicyDenied(
            f"the secret's command {argv[0]} cannot be started: {why}",
            cure="give a program of the PATH or an absolute path; relative ones begin at /",
        ) from None
    late = threading.Event()
    timer = threading.Timer(seconds, _end, (child, late))
    timer.start()
    try:
        return _read(child, argv[0], late)
    finally:
        timer.cancel()
        timer.join()
        _end(child, late)  # what it left behind; its number is still its own until it is waited for
        child.wait()


def _read(child: subprocess.Popen[bytes], name: str, late: threading.Event) -> bytes:
    assert child.stdout  # noqa: S101 - asked for as a pipe
    with child.stdout as stream:
        found = stream.read(_LIMIT + 1)
    if len(found) > _LIMIT:
        raise PolicyDenied(f"the secret's command {name} wrote more than 1 MiB", cure="bind another source")
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    status = ended.si_status if ended else 0
    if late.is_set():
        raise SourceUnavailable(f"the secret's command {name} took too long", cure="run it by hand")
    if status:
        raise SourceUnavailable(
            f"the secret's command {name} failed with status {status}",
            cure="run it by hand, as this user and in /, to see what it says",
        )
    return found


def _end(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    """End the program and all that it started, by its process group."""
    late.set()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
