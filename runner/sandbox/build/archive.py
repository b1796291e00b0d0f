"""The archive that ``docker load`` reads (Docker Image Specification v1.2)."""

from __future__ import annotations

import io
import json
import tarfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from runner.sandbox.build.record import BuiltProfile


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
