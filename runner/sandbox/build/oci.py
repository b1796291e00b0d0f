"""Reading an OCI image layout folder, every blob checked by its digest (OCI Image Format v1.1)."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from typing import IO, TYPE_CHECKING, Any, cast

from runner.errors import ImageMissing, SandboxError
from runner.sandbox.build.record import architecture
from runner.sandbox.build.unpack import unpack

if TYPE_CHECKING:
    from pathlib import Path

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_JSON = 4 << 20
_MAX_DEPTH = 4


def read_layout(layout: Path) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Return the digest of the configuration and the layers of the image in ``layout`` for this machine."""
    try:
        node = json.loads((layout / "index.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ImageMissing(
            f"{layout} is no OCI image layout: {error}", cure="write oci:FOLDER with an index.json"
        ) from error
    for _ in range(_MAX_DEPTH):
        if "layers" in node:
            return str(node["config"]["digest"]), tuple(node["layers"])
        node = json.loads(_blob(layout, _choose(node.get("manifests", [])), limit=_MAX_JSON))
    raise SandboxError(f"{layout} nests its manifests too deep")


def unpack_layout(layout: Path, layers: tuple[dict[str, Any], ...], target: Path) -> None:
    """Unpack ``layers`` over each other into ``target``."""
    for layer in layers:
        kind = str(layer.get("mediaType", ""))
        file = _open_checked(layout, str(layer["digest"]))
        with file:
            if kind.endswith("gzip"):
                with gzip.open(file) as plain:
                    unpack(cast("IO[bytes]", plain), target, whiteouts=True)
            elif kind.endswith(("tar", "")) and "zstd" not in kind:
                unpack(file, target, whiteouts=True)
            else:
                raise SandboxError(
                    f"a layer is packed as {kind}, which Runner cannot read", cure="pack it with gzip"
                )


def _choose(manifests: list[dict[str, Any]]) -> str:
    fitting = [
        entry
        for entry in manifests
        if entry.get("platform", {}).get("architecture", architecture()) == architecture()
        and entry.get("platform", {}).get("os", "linux") == "linux"
    ]
    if len(fitting) != 1:
        raise ImageMissing(f"the layout has {len(fitting)} images for this machine, it must have one")
    return str(fitting[0]["digest"])


def _path(layout: Path, digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise SandboxError(f"the layout names a blob {digest!r}, which is no SHA-256 digest")
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _open_checked(layout: Path, digest: str) -> IO[bytes]:
    try:
        file = _path(layout, digest).open("rb")
    except OSError as error:
        raise ImageMissing(f"the layout lacks blob {digest}") from error
    if "sha256:" + hashlib.file_digest(file, "sha256").hexdigest() != digest:
        file.close()
        raise SandboxError(f"blob {digest} of the layout is damaged")
    file.seek(0)
    return file


def _blob(layout: Path, digest: str, *, limit: int) -> bytes:
    with _open_checked(layout, digest) as file:
        return file.read(limit)
