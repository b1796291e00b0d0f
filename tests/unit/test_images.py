"""Images: built the same every time, found or clearly missing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from runner.errors import EngineUnavailable, ImageMissing, SandboxError, UsageError
from runner.sandbox.build import engine_images
from runner.sandbox.build.builder import build_profile, rootfs
from runner.sandbox.build.profile import find_profile, load_profile
from runner.sandbox.build.record import layer_path
from runner.sandbox.images import HOST, Images
from runner.sandbox.shipped import shipped_folder

if TYPE_CHECKING:
    from pathlib import Path

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
    assert str((tree / "bin/sh").readlink()) == "/bin/busybox"
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
        with pytest.raises(UsageError, match="minimal, python, shell"):
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


def test_a_built_profile_runs(cache: Path) -> None:
    tree = Images(cache, cache, "bubblewrap", "production").find("profile", "minimal").rootfs
    assert tree is not None
    said = subprocess.run(
        [tree / "bin/busybox", "sh", "-c", "echo $((6*7))"], capture_output=True, check=True
    )
    assert said.stdout == b"42\n"
