"""What was built: the lock record, and the image configuration that follows from it.

Format of the configuration: Docker Image Specification v1.2; its SHA-256 is the image's ID.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.sandbox.build.profile import recipe_digest

if TYPE_CHECKING:
    from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Return this machine's architecture as Docker and Debian call it."""
    return _ARCHITECTURES.get(os.uname().machine, os.uname().machine)


@dataclass(frozen=True, slots=True)
class BuiltProfile:
    """A built root file system.

    ``recipe`` and ``layer`` are hex SHA-256 (recipe, layer's tar); ``digest`` is ``sha256:…`` of
    the image configuration; ``packages`` maps names to versions.
    """

    name: str
    recipe: str
    arch: str
    path: str
    layer: str
    packages: dict[str, str]

    @property
    def config(self) -> bytes:
        """The image configuration, always the same bytes for the same layer."""
        settings = {
            "Env": [f"PATH={self.path}"],
            "WorkingDir": "/work",
            "Labels": {"runner.profile": self.name},
        }
        data = {
            "architecture": self.arch,
            "config": settings,
            "created": "2023-11-14T22:13:20Z",
            "history": [
                {"created": "2023-11-14T22:13:20Z", "created_by": f"runner sandbox build {self.name}"}
            ],
            "os": "linux",
            "rootfs": {"diff_ids": [f"sha256:{self.layer}"], "type": "layers"},
        }
        return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """The image's ID."""
        return "sha256:" + hashlib.sha256(self.config).hexdigest()

    @property
    def tag(self) -> str:
        """What the engine calls it beside its ID."""
        return f"runner-sandbox/{self.name}:{self.digest[7:19]}"


def built_profile(folder: Path, cache: Path) -> BuiltProfile | None:
    """Return what the recipe in ``folder`` was last built into, or None when it has to be built."""
    built = read_record(cache / "records" / f"{recipe_digest(folder)}.json")
    return built if built and layer_path(cache, built).is_file() else None


def layer_path(cache: Path, built: BuiltProfile) -> Path:
    """Return where the layer of ``built`` lies in ``cache``."""
    return cache / "layers" / f"{built.layer}.tar"


def rootfs_path(cache: Path, digest: str) -> Path:
    """Return where the unpacked tree of image ``digest`` lies in ``cache``."""
    return cache / "rootfs" / digest.removeprefix("sha256:")


def read_record(file: Path) -> BuiltProfile | None:
    """Return what ``file`` records, or None when it is not there or not a record."""
    try:
        data = json.loads(file.read_bytes())
        data.pop("digest", None)
        return BuiltProfile(**data)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
