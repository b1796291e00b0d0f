"""A Docker image with a predictable ID: its configuration is a pure function of the layer.

Format: Docker Image Specification v1.2 (``docker load``); the ID is the SHA-256 of the configuration's bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Return this machine's architecture as Docker and Debian call it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


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


def write_archive(built: BuiltProfile, layer: Path, target: IO[bytes]) -> None:
    """Write what ``docker load`` reads to ``target``, streaming ``layer``."""
    config_name, layer_name = f"{built.digest[7:]}.json", f"{built.layer}/layer.tar"
    manifest = [{"Config": config_name, "Layers": [layer_name], "RepoTags": [built.tag]}]
    with tarfile.open(fileobj=target, mode="w|") as writer:
        _add(writer, config_name, built.config)
        info = tarfile.TarInfo(layer_name)
        info.size = layer.stat().st_size
        with layer.open("rb") as data:
            writer.addfile(info, data)
        _add(writer, "manifest.json", json.dumps(manifest).encode())


def _add(writer: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    writer.addfile(info, io.BytesIO(data))
