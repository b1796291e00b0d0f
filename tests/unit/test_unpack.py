"""Unpacking images that nobody vouches for."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from runner.errors import ImageMissing, SandboxError
from runner.sandbox.build.record import architecture
from runner.sandbox.build.unpack import unpack
from runner.sandbox.images import Images

if TYPE_CHECKING:
    from pathlib import Path


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as writer:
        for info, data in members:
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def _info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_name_that_leaves_the_image_is_refused(name: str, tmp_path: Path) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    with pytest.raises(SandboxError, match="unsafe name"):
        unpack(_tar((_info(name), b"x")), target)
    assert not list(tmp_path.glob("evil"))


def test_a_link_is_kept_but_never_followed(tmp_path: Path) -> None:
    target, outside = tmp_path / "tree", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    through = _tar((_info("way", tarfile.SYMTYPE, str(outside)), b""), (_info("way/evil"), b"x"))
    with pytest.raises(SandboxError, match="which is no folder"):
        unpack(through, target)
    assert (target / "way").readlink() == outside
    assert not list(outside.iterdir())


def test_a_hard_link_reaches_no_file_outside(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    (tmp_path / "secret").write_text("s")
    for link in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(SandboxError, match="unsafe name"):
            unpack(_tar((_info("h", tarfile.LNKTYPE, link), b"")), target)
    through = _tar((_info("s", tarfile.SYMTYPE, "../secret"), b""), (_info("h", tarfile.LNKTYPE, "s"), b""))
    with pytest.raises(SandboxError, match="something that is no file"):
        unpack(through, target)


def test_devices_are_left_out_and_privileges_dropped(tmp_path: Path) -> None:
    members = (
        (_info("null", tarfile.CHRTYPE), b""),
        (_info("su", mode=0o4755), b"x"),
        (_info("p", tarfile.FIFOTYPE), b""),
    )
    unpack(_tar(*members), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["su"]
    assert (tmp_path / "su").stat().st_mode & 0o7777 == 0o755


def _layout(folder: Path, *layers: bytes) -> None:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return f"sha256:{digest}"

    kind = "application/vnd.oci.image.layer.v1.tar"
    manifest = {
        "config": {"digest": put(b"{}")},
        "layers": [{"mediaType": kind, "digest": put(x)} for x in layers],
    }
    entry = {
        "digest": put(json.dumps(manifest).encode()),
        "platform": {"architecture": architecture(), "os": "linux"},
    }
    other = {"digest": "sha256:" + "0" * 64, "platform": {"architecture": "s390x", "os": "linux"}}
    (folder / "index.json").write_text(json.dumps({"manifests": [other, entry]}))


def test_an_oci_layout_is_unpacked_layer_over_layer(tmp_path: Path) -> None:
    lower = _tar((_info("etc/gone"), b"1"), (_info("etc/kept"), b"1"), (_info("all/old"), b"1")).getvalue()
    upper = _tar(
        (_info("etc/.wh.gone"), b""), (_info("all/.wh..wh..opq"), b""), (_info("all/new"), b"2")
    ).getvalue()
    _layout(tmp_path / "image", lower, upper)
    image = Images(tmp_path / "cache", tmp_path, "bubblewrap", "production").find("reference", "oci:image")
    assert image.rootfs is not None
    assert {str(p.relative_to(image.rootfs)) for p in image.rootfs.rglob("*") if p.is_file()} == {
        "etc/kept",
        "all/new",
    }


def test_a_damaged_oci_layout_is_refused(tmp_path: Path) -> None:
    _layout(tmp_path / "image", _tar((_info("a"), b"1")).getvalue())
    for blob in (tmp_path / "image/blobs/sha256").iterdir():
        if blob.stat().st_size > 5000:
            blob.write_bytes(blob.read_bytes() + b"\0")
    images = Images(tmp_path / "cache", tmp_path, "bubblewrap", "production")
    with pytest.raises(SandboxError, match="damaged"):
        images.find("reference", "oci:image")
    with pytest.raises(ImageMissing, match="no OCI image layout"):
        images.find("reference", "oci:nowhere")
