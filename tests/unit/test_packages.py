"""Installed Python packages in the cache: whole or not there, whatever the archive holds."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from runner.errors import PolicyDenied, SandboxError
from runner.sandbox.packages import Packages, variables

if TYPE_CHECKING:
    from pathlib import Path

MANY = 1 << 20
DAY = 86400.0


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, size, link, 0o755
    return info


def archive(folder: Path, *members: tarfile.TarInfo) -> Path:
    path = folder / "packages.tar"
    with tarfile.open(path, "w") as writer:
        for info in members:
            writer.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def keep(packages: Packages, *members: tarfile.TarInfo, most: int = MANY) -> Path:
    with packages.draft() as draft:
        return packages.keep("key", archive(draft, *members), most)


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    return Packages(tmp_path / "cache")


def names(packages: Packages) -> list[str]:
    return sorted(path.name for path in (packages.cache / "packages").iterdir())


def test_what_was_kept_is_found_and_nothing_else_is_left(packages: Packages) -> None:
    assert packages.find("key") is None
    kept = keep(packages, member(".", tarfile.DIRTYPE), member("./m/a.py", size=3))
    assert packages.find("key") == kept
    assert (kept / "m" / "a.py").read_bytes() == b"xxx"
    assert names(packages) == ["key"]


def test_whoever_comes_second_takes_what_is_there(packages: Packages) -> None:
    keep(packages, member("first.py"))
    kept = keep(packages, member("second.py"))
    assert [path.name for path in kept.iterdir()] == ["first.py"]
    assert names(packages) == ["key"]


@pytest.mark.parametrize(
    "hostile",
    [
        member("link", tarfile.SYMTYPE, link="/etc/passwd"),
        member("hard", tarfile.LNKTYPE, link="a.py"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("../out.py", size=1),
        member("/etc/out.py", size=1),
        member("m/../../out.py", size=1),
    ],
    ids=lambda info: str(info.name),
)
def test_an_archive_that_holds_more_than_folders_and_files_is_refused(
    packages: Packages, hostile: tarfile.TarInfo, tmp_path: Path
) -> None:
    with pytest.raises(SandboxError):
        keep(packages, member("a.py"), hostile)
    assert names(packages) == []
    assert not list(tmp_path.rglob("out.py"))


def test_an_archive_that_is_too_large_is_the_operator_s_to_allow(packages: Packages) -> None:
    with pytest.raises(PolicyDenied, match="more than 100 bytes") as caught:
        keep(packages, member("a.py", size=60), member("b.py", size=60), most=100)
    assert "max_bytes" in caught.value.cure
    assert names(packages) == []


@pytest.mark.parametrize("cut", [0, 100, 700, 1536, 1600, 2048, 3072])
def test_a_torn_archive_is_refused(packages: Packages, cut: int) -> None:
    with packages.draft() as draft:
        torn = archive(draft, member("a.py", size=1000), member("b.py", size=1000))
        torn.write_bytes(torn.read_bytes()[:cut])
        with pytest.raises(SandboxError):
            packages.keep("key", torn, MANY)
    assert names(packages) == []


def test_only_what_nobody_used_for_long_is_cleared(packages: Packages) -> None:
    kept = keep(packages, member("a.py"))
    draft = packages.cache / "packages" / ".new-dead"
    draft.mkdir()
    now = kept.stat().st_mtime
    assert packages.clear(now + DAY / 2) == []
    assert packages.clear(now + 2 * DAY) == ["packages .new-dead"]
    os.utime(kept, (now - 31 * DAY, now - 31 * DAY))
    assert packages.find("key") == kept, "who finds it uses it"
    assert packages.clear(now) == []
    assert packages.clear(now + 31 * DAY) == ["packages key"]
    assert names(packages) == []


def test_a_cache_without_packages_has_nothing_to_clear(packages: Packages) -> None:
    assert packages.clear(0.0) == []


def test_the_packages_come_after_a_path_of_the_step_s_own() -> None:
    assert variables({"PATH": "/bin"}) == {
        "PATH": "/opt/requirements/bin:/bin",
        "PYTHONPATH": "/opt/requirements",
    }
    assert variables({"PATH": "/bin", "PYTHONPATH": "/app"})["PYTHONPATH"] == "/app:/opt/requirements"
