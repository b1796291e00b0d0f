"""Which files below a folder are opened, by whomever: the kernel's inotify, by inode.

A sandbox's mount shows the same inodes, so what a step opens there is seen here. gVisor opens what a step
only looks at, so that there only what is read counts. What is not there cannot be watched. See inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from pathlib import Path

from runner.errors import SandboxError

_CLOEXEC, _NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_ACCESS, _OPEN, _ONLY_FOLDERS = 0x01, 0x20, 0x01000000
_OVERFLOW, _FOLDER = 0x4000, 0x40000000
_HEAD = struct.Struct("iIII")
_READ = 1 << 16
_LOOK = 0.2


class Reads:
    """Watches from construction to ``close``; paths are relative to ``root``.

    ``lost``: more happened than the kernel could tell. ``by_bytes``: what counts is that bytes were read.
    """

    def __init__(self, root: Path, *, by_bytes: bool = False) -> None:
        """Watch every folder below ``root``; raises ``SandboxError`` where the kernel refuses."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(self._libc.inotify_init1(_CLOEXEC | _NONBLOCK))
        self._root = root
        self.by_bytes = by_bytes
        mask = ctypes.c_uint32((_ACCESS | _OPEN if by_bytes else _OPEN) | _ONLY_FOLDERS)
        self._folders: dict[int, str] = {}
        self._opened: set[str] = set()
        self._accessed: set[str] = set()
        self.lost = False
        self._ended = threading.Event()
        self._lock = threading.Lock()
        for folder, _, _ in os.walk(root):
            number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask)
            path = Path(folder).relative_to(root).as_posix()
            self._folders[self._checked(number)] = "" if path == "." else f"{path}/"
        self._thread = threading.Thread(target=self._watch, name="reads", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Begin anew: what was opened so far was not the step."""
        with self._lock:
            self._drain()
            self._opened.clear()
            self._accessed.clear()

    def read(self) -> frozenset[str]:
        """Return the files that were opened; by bytes, those that were read, and empty ones."""
        with self._lock:
            self._drain()
            if not self.by_bytes:
                return frozenset(self._opened)
            empty = {name for name in self._opened if not (self._root / name).stat().st_size}
            return frozenset(self._accessed | empty)

    def close(self) -> None:
        """Watch no more; may be called twice."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            os.close(self._descriptor)

    def _watch(self) -> None:
        while not self._ended.is_set():
            if select.select([self._descriptor], [], [], _LOOK)[0]:
                with self._lock:
                    self._drain()

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, _READ)
            except BlockingIOError:
                return
            place = 0
            while place < len(data):
                number, mask, _, length = _HEAD.unpack_from(data, place)
                name = data[place + _HEAD.size : place + _HEAD.size + length].rstrip(b"\0")
                place += _HEAD.size + length
                self._take(number, mask, os.fsdecode(name))

    def _take(self, number: int, mask: int, name: str) -> None:
        if mask & _OVERFLOW:
            self.lost = True
        elif name and not mask & _FOLDER:
            (self._opened if mask & _OPEN else self._accessed).add(self._folders[number] + name)

    def _checked(self, result: int) -> int:
        if result < 0:
            why = os.strerror(ctypes.get_errno())
            raise SandboxError(
                f"what the script reads cannot be watched: {why}",
                cure="raise fs.inotify.max_user_watches and max_user_instances",
            )
        return result
