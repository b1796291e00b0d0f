"""What is installed is what is tested: the wheel is complete on its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_profiles_system_call_policy_and_both_init_binaries(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for profile in ("minimal", "python", "shell"):
        assert f"runner/_shipped/sandboxes/{profile}/profile.yaml" in names
        assert f"runner/_shipped/sandboxes/{profile}/lock.json" in names
    assert [name for name in names if name.startswith("runner/_shipped/sandboxes/seccomp/")]
    binaries = [
        name for name in names if name.startswith("runner/sandbox/init/bin/") and "sandbox-init" in name
    ]
    assert any("x86_64" in name or "amd64" in name for name in binaries), binaries
    assert any("aarch64" in name or "arm64" in name for name in binaries), binaries


def test_the_wheel_carries_nothing_of_the_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"runner"}


def test_the_installed_wheel_builds_a_profile_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("profiles are built from Debian packages; this is no Debian machine")
    venv, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    # The dependencies are those of the environment that runs this test: only the wheel itself is new.
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    (site,) = (venv / "lib").glob("python3*/site-packages")
    subprocess.run([venv / "bin" / "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    ours = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{ours}\n", encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(empty),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "RUNNER_HOME": str(tmp_path / "state"),
    }
    where = [venv / "bin" / "python", "-P", "-c", "import runner; print(runner.__file__)"]
    found = subprocess.run(where, cwd=empty, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(venv))
    built = subprocess.run(
        [venv / "bin" / "runner", "sandbox", "build", "minimal"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "sha256:" in built.stdout
    assert list(tmp_path.glob("cache/**/rootfs/*/bin/busybox"))
