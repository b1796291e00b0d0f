"""Building a profile once per recipe and package versions, into a cache that processes may share.

Cache layout: ``records/RECIPE.json`` (what was built last), ``layers/HEX.tar``, ``rootfs/HEX/`` (unpacked),
``locks/`` (flock files). Everything appears by an atomic rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import SandboxError
from runner.sandbox.build import debian, layer
from runner.sandbox.build.profile import Profile, load_profile, recipe_digest
from runner.sandbox.build.record import BuiltProfile, architecture, layer_path, read_record, rootfs_path
from runner.sandbox.build.unpack import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.sandbox.build.programs import Progress

_MINIMAL_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}
_MINIMAL_FOLDERS = ("bin", "etc", "root", "sbin", "usr", "usr/bin", "usr/sbin", "var", "var/tmp")


def build_profile(name: str, folder: Path, cache: Path, progress: Progress) -> BuiltProfile:
    """Build profile ``name`` from the recipe in ``folder`` and keep it in ``cache``.

    Says through ``progress`` when packages differ from the lock file beside the recipe. Raises
    ``SandboxError`` (a missing tool, no network) and ``UsageError`` (a wrong recipe).
    """
    profile, recipe = load_profile(folder), recipe_digest(folder)
    with _locked(cache, recipe), _scratch(cache) as scratch:
        progress(f"building sandbox profile {name} from Debian packages")
        source = _minimal if profile.base == "busybox" else _essential
        entries, packages = source(profile, scratch, progress)
        tar = scratch / "layer.tar"
        digest = layer.write_layer(entries(), tar)
        built = BuiltProfile(name, recipe, architecture(), profile.path, digest, packages)
        target = layer_path(cache, built)
        target.parent.mkdir(parents=True, exist_ok=True)
        tar.replace(target)
        _write(cache / "records" / f"{recipe}.json", _as_json(built))
    for line in _differences(built, folder / "lock.json"):
        progress(line)
    progress(f"built {name}: {built.digest}")
    return built


def rootfs(cache: Path, digest: str, fill: Callable[[Path], None]) -> Path:
    """Return the unpacked tree of image ``digest``, made by ``fill(empty folder)`` if it is not there yet."""
    target = rootfs_path(cache, digest)
    if target.is_dir():
        return target
    with _locked(cache, target.name), _scratch(cache) as scratch:
        if not target.is_dir():
            tree = scratch / "tree"
            tree.mkdir(mode=0o755)
            fill(tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            tree.replace(target)
    return target


def profile_rootfs(cache: Path, built: BuiltProfile) -> Path:
    """Return the unpacked tree of a built profile."""

    def fill(tree: Path) -> None:
        with layer_path(cache, built).open("rb") as data:
            unpack(data, tree)

    return rootfs(cache, built.digest, fill)


_Source = tuple["Callable[[], Iterator[layer.Entry]]", dict[str, str]]


def _minimal(profile: Profile, scratch: Path, progress: Progress) -> _Source:
    archives = debian.download(profile.packages, scratch, progress)
    packages = dict(sorted(map(debian.package_version, archives)))
    tars = [debian.contents(archive) for archive in archives]
    busybox = next((tar for tar in tars if tar.name.startswith("busybox")), None)
    if busybox is None:
        raise SandboxError(f"profile {profile.name} has base busybox but no busybox package")
    names = debian.applets(busybox, scratch)

    def entries() -> Iterator[layer.Entry]:
        for name in _MINIMAL_FOLDERS:
            yield layer.folder(name)
        for name, data in _MINIMAL_FILES.items():
            yield layer.file(name, data)
        for tar in tars:
            yield from (entry for entry in layer.from_tar(tar) if not entry.info.isdir())
        for name in names:
            if name != "bin/busybox":
                yield layer.link(name, "/bin/busybox")

    return entries, packages


def _essential(profile: Profile, scratch: Path, progress: Progress) -> _Source:
    tar = debian.bootstrap(profile, scratch, progress)
    progress("writing the image")
    packages: dict[str, str] = {}
    for entry in layer.from_tar(tar):
        if entry.info.name == "./var/lib/dpkg/status" and entry.data is not None:
            packages = _installed(entry.data.read().decode())
            break
    return lambda: layer.from_tar(tar), packages


def _installed(status: str) -> dict[str, str]:
    found = {}
    for block in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if "Package" in fields:
            found[fields["Package"]] = fields.get("Version", "")
    return dict(sorted(found.items()))


def _differences(built: BuiltProfile, lock: Path) -> list[str]:
    old = read_record(lock)
    if old is None or old.arch != built.arch or old.digest == built.digest:
        return []
    changed = [
        f"{name} {old.packages.get(name, 'absent')} → {built.packages.get(name, 'absent')}"
        for name in sorted(old.packages.keys() | built.packages.keys())
        if old.packages.get(name) != built.packages.get(name)
    ]
    return [f"{built.name} differs from its lock file: {', '.join(changed) or 'same packages, other bytes'}"]


def _as_json(built: BuiltProfile) -> str:
    return json.dumps({**asdict(built), "digest": built.digest}, indent=1, sort_keys=True) + "\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as temporary:
        temporary.write(text)
    Path(temporary.name).replace(file)


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="build-", dir=cache))
    except OSError as error:
        raise SandboxError(f"the cache folder cannot be written: {error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(cache: Path, name: str) -> Iterator[None]:
    file = cache / "locks" / f"{name}.lock"
    with suppress(FileExistsError):
        file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
