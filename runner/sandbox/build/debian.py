"""Fetching Debian packages with the host's apt, from Debian's own archives only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import SandboxError
from runner.sandbox.build.programs import Progress, need, output, run

if TYPE_CHECKING:
    from pathlib import Path

    from runner.sandbox.build.profile import Profile

DEFAULT_SUITE = "bookworm"
_DEFAULT_SOURCES = (
    f"deb http://deb.debian.org/debian {DEFAULT_SUITE} main",
    f"deb http://deb.debian.org/debian {DEFAULT_SUITE}-updates main",
    f"deb http://deb.debian.org/debian-security {DEFAULT_SUITE}-security main",
)


def sources() -> tuple[str, ...]:
    """Return one-line apt sources: the host's where it is Debian, else Debian's public mirror."""
    argv = [need("apt-get"), "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)"]
    told = subprocess.run([*argv, "Identifier: Packages"], capture_output=True, text=True, check=False)
    rows = [line.split() for line in told.stdout.splitlines()]
    lines = {
        f"deb {row[0]} {row[1]} main"
        for row in rows
        if len(row) == 4 and row[2:] == ["main", "Debian"]  # noqa: PLR2004
    }
    return tuple(sorted(lines)) or _DEFAULT_SOURCES


def suite(lines: tuple[str, ...]) -> str:
    """Return the main suite that ``lines`` name: the shortest, without ``-updates`` and the like."""
    return min((line.split()[2] for line in lines), key=len)


def bootstrap(profile: Profile, folder: Path, progress: Progress) -> Path:
    """Install Debian's essential packages and the profile's; return the root file system as a tar."""
    need("mmdebstrap")
    lines, target = sources(), folder / "raw.tar"
    argv = ["mmdebstrap", "--variant=essential", f"--include={','.join(profile.packages)}"]
    if os.geteuid() == 0:
        argv.append("--mode=root")
    argv += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "info", "locale")]
    argv += ['--aptopt=APT::Install-Recommends "false"', "--skip=check/qemu", suite(lines), str(target), "-"]
    run(argv, folder=folder, progress=progress, stdin="\n".join(lines) + "\n")
    return target


def download(packages: tuple[str, ...], folder: Path, progress: Progress) -> list[Path]:
    """Download ``packages`` into ``folder``, with the host's package lists or else with fresh ones."""
    base = ["apt-get", "-q", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=1"]
    with suppress(SandboxError):
        run([*base, "download", *packages], folder=folder, progress=lambda _line: None)
        return sorted(folder.glob("*.deb"))
    progress("fetching Debian's package lists")
    private = [*base, *_private_apt(folder)]
    run([*private, "update"], folder=folder, progress=progress)
    run([*private, "download", *packages], folder=folder, progress=progress)
    return sorted(folder.glob("*.deb"))


def _private_apt(folder: Path) -> list[str]:
    state, cache = folder / "state", folder / "cache"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    listing = folder / "sources.list"
    listing.write_text("\n".join(sources()) + "\n", encoding="utf-8")
    options = {
        "Dir::State": state,
        "Dir::Cache": cache,
        "Dir::Etc::SourceList": listing,
        "Dir::Etc::SourceParts": "/dev/null",
        "APT::Get::List-Cleanup": "0",
    }
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def package_version(archive: Path) -> tuple[str, str]:
    """Return name and version of a ``.deb``."""
    text = output(
        ["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(archive)], folder=archive.parent
    )
    name, version = text.split()
    return name, version


def contents(archive: Path) -> Path:
    """Unpack the file system tar of a ``.deb`` beside it, without running anything from it."""
    target = archive.with_suffix(".tar")
    with target.open("wb") as file:
        done = subprocess.run([need("dpkg-deb"), "--fsys-tarfile", archive], stdout=file, check=False)
    if done.returncode:
        raise SandboxError(f"{archive.name} is damaged", cure="build again")
    return target


def applets(tar: Path, folder: Path) -> tuple[str, ...]:
    """Return where busybox wants each applet (``bin/sh``), as the busybox in ``tar`` says."""
    program = folder / "busybox"
    with tarfile.open(tar) as reader:
        source = reader.extractfile("./bin/busybox")
        if source is None:
            raise SandboxError("the busybox package has no bin/busybox")
        with program.open("wb") as file:
            shutil.copyfileobj(source, file)
    program.chmod(0o755)
    return tuple(sorted(output([str(program), "--list-full"], folder=folder).split()))
