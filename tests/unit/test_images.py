"""Images: built the same every time, unpacked without trust, found or clearly missing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from runner.errors import EngineUnavailable, ImageMissing, SandboxError, UsageError
from runner.sandbox.build import engine_images
from runner.sandbox.build.archive import architecture
from runner.sandbox.build.builder import build_profile, layer_path, rootfs
from runner.sandbox.build.profile import find_profile, load_profile
from runner.sandbox.build.unpack import unpack
from runner.sandbox.images import HOST, Images
from runner.sandbox.shipped import shipped_folder

IN_CI = bool(os.environ.get("CI"))


def _quiet(_line: str) -> None:
    pass


def _need_debian() -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("profiles are built from Debian packages; this is no Debian machine")


def _need_engine() -> None:
    try:
        engine_images.inspect("runner-sandbox/none")
    except EngineUnavailable as error:
        if IN_CI:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _need_debian()
    folder = tmp_path_factory.mktemp("cache")
    build_profile("minimal", shipped_folder() / "minimal", folder, _quiet)
    return folder


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


def test_the_same_packages_give_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    folder = shipped_folder() / "minimal"
    first = build_profile("minimal", folder, cache, _quiet)
    second = build_profile("minimal", folder, tmp_path, _quiet)
    assert first == second
    assert layer_path(cache, first).read_bytes() == layer_path(tmp_path, second).read_bytes()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["python", "shell"])
def test_the_same_packages_give_the_same_bytes_with_maintainer_scripts(name: str, tmp_path: Path) -> None:
    _need_debian()
    folder = shipped_folder() / name
    first = build_profile(name, folder, tmp_path / "a", _quiet)
    assert build_profile(name, folder, tmp_path / "b", _quiet) == first


def test_a_rootfs_has_every_folder_of_a_sandbox_and_no_privileged_file(cache: Path) -> None:
    tree = Images(cache, cache, "bubblewrap", "production").find("profile", "minimal").rootfs
    assert tree is not None
    for name in ("in", "out", "work", "tmp", "run", "proc", "dev", "sys", ".runner"):
        assert (tree / name).is_dir()
    assert (tree / ".runner/init").read_bytes() == b""
    assert os.readlink(tree / "bin/sh") == "/bin/busybox"
    modes = [path.lstat().st_mode for path in tree.rglob("*")]
    assert not [mode for mode in modes if mode & (stat.S_ISUID | stat.S_ISGID)]
    assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode) for mode in modes)


def test_the_engine_gives_the_id_that_was_predicted(cache: Path) -> None:
    _need_engine()
    image = Images(cache, cache, "docker", "production").find("profile", "minimal")
    found = engine_images.inspect(image.reference)
    assert found is not None
    assert image.digest == found["Id"] == image.reference


def test_a_reference_is_unpacked_from_the_engine_for_bubblewrap(cache: Path) -> None:
    _need_engine()
    identity = Images(cache, cache, "docker", "production").find("profile", "minimal").reference
    image = Images(cache / "other", cache, "bubblewrap", "production").find("reference", identity)
    assert image.digest == identity
    assert image.rootfs is not None
    assert (image.rootfs / "bin/busybox").stat().st_size > 1_000_000


@pytest.mark.parametrize("engine", ["docker", "bubblewrap"])
def test_a_reference_that_cannot_be_had_is_one_clear_error(engine: str, tmp_path: Path) -> None:
    _need_engine()
    images = Images(tmp_path, tmp_path, engine, "staging")
    with pytest.raises(ImageMissing, match=r"image 127\.0\.0\.1:9/none:1 is not here and cannot be pulled"):
        images.find("reference", "127.0.0.1:9/none:1")


def test_an_unbuilt_profile_is_the_hosts_folders_in_staging_and_refused_in_production(tmp_path: Path) -> None:
    images = Images(tmp_path, tmp_path, "bubblewrap", "staging")
    assert images.find("profile", "python").digest == HOST
    assert images.find("profile", "python").rootfs is None
    assert len(images.warnings) == 1
    assert "runner sandbox build python" in images.warnings[0]
    with pytest.raises(ImageMissing, match="not built"):
        Images(tmp_path, tmp_path, "bubblewrap", "production").find("profile", "python")


def test_an_unknown_profile_names_those_that_there_are(tmp_path: Path) -> None:
    for name in ("pyhton", "../minimal", ""):
        with pytest.raises(ImageMissing, match="minimal, python, shell"):
            Images(tmp_path, tmp_path, "bubblewrap", "staging").find("profile", name)


def test_a_projects_profile_stands_before_a_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "sandboxes" / "minimal"
    own.mkdir(parents=True)
    (own / "profile.yaml").write_text(
        "base: busybox\npackages: [busybox-static]\npath: /bin\ndescription: mine\n"
    )
    rows = Images(tmp_path / "cache", tmp_path, "bubblewrap", "staging").list()
    assert {"name": "minimal", "digest": "", "description": "mine"} in rows
    assert find_profile("minimal", (tmp_path / "sandboxes", shipped_folder())) == own


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: busybox\npackages: [a]\npath: /bin\nhooks: [rm]\n", "unknown key 'hooks'"),
        ("base: ubuntu\npackages: [aa]\npath: /bin\n", "base must be one of"),
        ("base: busybox\npackages: ['--option']\npath: /bin\n", "is no Debian package name"),
        ("base: busybox\npackages: busybox\npath: /bin\n", "packages must be a list"),
        ("base: busybox\npackages: [bb]\npath: bin\n", "path must be absolute"),
        ("- a\n", "must be a mapping"),
        ("a: [\n", "profile.yaml"),
    ],
)
def test_a_wrong_recipe_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        load_profile(tmp_path)


def test_a_missing_tool_is_one_error_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="apt-get install mmdebstrap"):
        build_profile("python", shipped_folder() / "python", tmp_path / "cache", _quiet)


def test_no_network_is_one_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _need_debian()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(SandboxError, match="is the Debian mirror reachable"):
        build_profile("minimal", shipped_folder() / "minimal", tmp_path, _quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]


def test_packages_other_than_the_lock_files_are_said_and_built(cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "minimal"
    shutil.copytree(shipped_folder() / "minimal", own)
    record = json.loads(next((cache / "records").glob("*.json")).read_text())
    record["packages"]["busybox-static"] = "1.0"
    (own / "lock.json").write_text(json.dumps({**record, "layer": "0" * 64}))
    lines: list[str] = []
    built = build_profile("minimal", own, tmp_path / "cache", lines.append)
    assert any("busybox-static 1.0 → " in line for line in lines)
    assert built.layer != "0" * 64


def test_two_at_once_unpack_a_rootfs_only_once(tmp_path: Path) -> None:
    calls: list[Path] = []

    def fill(tree: Path) -> None:
        calls.append(tree)
        (tree / "file").write_text("whole")

    threads = [threading.Thread(target=rootfs, args=(tmp_path, "sha256:" + "a" * 64, fill)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert (tmp_path / "rootfs" / ("a" * 64) / "file").read_text() == "whole"


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
    assert os.readlink(target / "way") == str(outside)
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


def test_a_built_profile_runs(cache: Path) -> None:
    tree = Images(cache, cache, "bubblewrap", "production").find("profile", "minimal").rootfs
    assert tree is not None
    said = subprocess.run(
        [tree / "bin/busybox", "sh", "-c", "echo $((6*7))"], capture_output=True, check=True
    )
    assert said.stdout == b"42\n"
