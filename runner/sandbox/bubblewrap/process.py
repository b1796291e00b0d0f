"""One running bubblewrap and the thread that it lives and dies with."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import SandboxError
from runner.sandbox.bubblewrap.arguments import GROUP, PASSWD, Descriptors, Layout, bwrap_arguments
from runner.sandbox.bubblewrap.mounts import stage
from runner.sandbox.bubblewrap.restrain import allow_low_ports, become, set_process_limits
from runner.sandbox.bubblewrap.rootfs import Piece

if TYPE_CHECKING:
    from runner.sandbox.base import Limits

_READY = 30.0


@dataclass(frozen=True, slots=True)
class Launch:
    """All that one sandbox needs: paths on the host, and the host ``uid`` to run as (None: as we are).

    ``libraries`` is a folder that bubblewrap's own libraries come from, or None. ``without`` names
    the controllers that no control group of ours has. ``low_ports``: any port may be listened on inside.
    """

    bwrap: Path
    libraries: Path | None
    rootfs: Path | None
    root: tuple[Piece, ...]
    mounts: tuple[tuple[Path, str], ...]
    inputs: Path
    out: Path
    init: Path
    seccomp: bytes
    limits: Limits
    uid: int | None
    without: frozenset[str]
    low_ports: bool = False


class Process:
    """bubblewrap with our PID 1 in it; ``pid`` is PID 1's on the host.

    The kernel kills bubblewrap when the *thread* that started it ends, so the thread waits for it.
    """

    def __init__(self, launch: Launch) -> None:
        self.code: int | None = None
        self.pid = 0
        self._launch = launch
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._handle = self._stdin = self._stdout = self._stderr = -1
        self._info, self._info_writer = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._live, name="bubblewrap", daemon=True)

    def begin(self) -> None:
        """Start, and return when PID 1 exists; raises ``SandboxError``."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            words = self.complaint()
            self.close()
            raise SandboxError(f"bubblewrap made no sandbox: {self._failure} {words}") from self._failure

    def send(self, data: bytes) -> None:
        """Write to PID 1; raises ``OSError`` when it is gone."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._stdin, view) :]

    def read(self, size: int, timeout: float | None = None) -> bytes:
        """Read what PID 1 wrote; empty at the end, or after ``timeout`` seconds of silence."""
        if timeout is not None and not select.select([self._stdout], [], [], timeout)[0]:
            return b""
        return os.read(self._stdout, size)

    def kill(self) -> None:
        """Kill PID 1, and so everything in the sandbox."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def join(self) -> int | None:
        """Wait until bubblewrap confirms that PID 1 and all below it are dead; return its exit status."""
        self._thread.join()
        return self.code

    def complaint(self) -> str:
        """Return what bubblewrap said on its standard error, once it has ended."""
        self.join()
        with contextlib.suppress(OSError):
            os.lseek(self._stderr, 0, os.SEEK_SET)
            return os.read(self._stderr, 2000).decode(errors="replace").strip()
        return ""

    def close(self) -> None:
        """Kill, wait and let go of every descriptor; may be called twice."""
        self.kill()
        if self._thread.ident is not None:
            self._thread.join()
        for name in ("_stdin", "_stdout", "_stderr", "_info", "_handle"):
            descriptor = getattr(self, name)
            setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)

    def _live(self) -> None:
        try:
            try:
                self._popen = self._start()
            finally:
                os.close(self._info_writer)
            self._restrain()
        except OSError as error:
            self._failure = error
            if self._popen is not None:
                self._popen.kill()
        self._started.set()
        if self._popen is not None:
            code = self._popen.wait()
            self.code = code if code >= 0 else 128 - code

    def _restrain(self) -> None:
        """Limit PID 1 while it waits, as the user that it runs as."""
        self.pid = self._read_pid()
        if self.pid == 0:
            raise ChildProcessError("it ended at once")
        self._handle = os.pidfd_open(self.pid)
        if self._launch.low_ports:
            allow_low_ports(self.pid)
        if self._launch.uid is not None:
            become(self._launch.uid)
        set_process_limits(self.pid, self._launch.limits, self._launch.without)

    def _start(self) -> subprocess.Popen[bytes]:
        launch = self._launch
        seen = self._staged() if launch.uid is not None else self._in_place()
        files = [_sealed(launch.seccomp), *((_sealed(PASSWD), _sealed(GROUP)) if not launch.rootfs else ())]
        descriptors = Descriptors(files[0], self._info_writer, *files[1:])
        bwrap, libraries, layout = seen
        self._stderr = os.memfd_create("stderr", os.MFD_CLOEXEC)
        stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
        self._stdout, stdout = os.pipe2(os.O_CLOEXEC)
        ours = [*files, stdin, stdout]
        try:
            return subprocess.Popen(
                [bwrap, *bwrap_arguments(layout, launch.limits, descriptors)],
                stdin=stdin,
                stdout=stdout,
                stderr=self._stderr,
                pass_fds=[*files, self._info_writer],
                cwd="/",
                env={"LD_LIBRARY_PATH": libraries} if libraries else {},
                user=launch.uid,
                group=launch.uid,
                extra_groups=None if launch.uid is None else [],
                process_group=0,
            )
        finally:
            for found in ours:
                os.close(found)

    def _staged(self) -> tuple[str, str, Layout]:
        launch = self._launch
        pieces = [piece for piece in launch.root if piece.kind == "bind"] if launch.rootfs is None else []
        paths = [launch.bwrap, launch.inputs, launch.out, launch.init]
        extra = [found for found in (launch.libraries, launch.rootfs) if found]
        mounts = [source for source, _ in launch.mounts]
        new = stage([*paths, *extra, *mounts, *(Path(piece.source) for piece in pieces)])
        rest = iter(new[len(paths) :])
        libraries = next(rest) if launch.libraries else ""
        rootfs = next(rest) if launch.rootfs else ""
        moved = tuple((next(rest), target) for _, target in launch.mounts)
        places = {piece.target: next(rest) for piece in pieces}
        root = tuple(_moved(piece, places, str(launch.rootfs or ""), rootfs) for piece in launch.root)
        return new[0], libraries, Layout(root, moved, new[1], new[2], new[3])

    def _in_place(self) -> tuple[str, str, Layout]:
        launch = self._launch
        mounts = tuple((str(source), target) for source, target in launch.mounts)
        layout = Layout(launch.root, mounts, str(launch.inputs), str(launch.out), str(launch.init))
        return str(launch.bwrap), str(launch.libraries or ""), layout

    def _read_pid(self) -> int:
        told = b""
        while select.select([self._info], [], [], _READY)[0] and (more := os.read(self._info, 4096)):
            told += more
            with contextlib.suppress(ValueError):
                return int(json.loads(told)["child-pid"])
        return 0


def _moved(piece: Piece, places: dict[str, str], old: str, new: str) -> Piece:
    if piece.kind != "bind":
        return piece
    source = places.get(piece.target) or new + piece.source.removeprefix(old)
    return Piece("bind", piece.target, source)


def _sealed(content: bytes) -> int:
    descriptor = os.memfd_create("runner", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
