"""What only bubblewrap has: the host's system folders, control groups, and its own refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contract_bench import LIMITS, STATE, Bench, Order

from runner.errors import EngineUnavailable, ImageMissing, SandboxError
from runner.sandbox.base import Image, Mount
from runner.sandbox.bubblewrap.arguments import Descriptors, Layout, bwrap_arguments
from runner.sandbox.bubblewrap.cgroup import Group, Hierarchy, reap_groups
from runner.sandbox.bubblewrap.driver import BubblewrapDriver
from runner.sandbox.bubblewrap.rootfs import Piece, image_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Bench]:
    try:
        driver = BubblewrapDriver(state=STATE)
        driver.check()
    except EngineUnavailable as error:
        pytest.skip(str(error))
    yield Bench(driver, Image("host", "host:"), tmp_path)
    driver.close()


def test_the_host_s_system_folders_serve_without_its_secrets(host: Bench) -> None:
    result = host.shell("ls /usr/bin >/dev/null && ls / /etc; cat /etc/passwd; touch /usr/x /etc/x; true")
    seen = result.stdout.split()
    assert "usr" in seen
    assert not {"home", "root", "var", "shadow", "hosts", "ssh"} & set(seen)
    assert "step:x:10001:10001:step:/work:/bin/sh" in result.stdout
    assert result.stderr.count("Read-only file system") == 2


@pytest.mark.parametrize(
    "target", ["/", "/out", "/in/x", "/run/secrets", "/.runner/init", "/a/../proc", "app"]
)
def test_nothing_is_mounted_over_what_is_ours(host: Bench, tmp_path: Path, target: str) -> None:
    spec = replace(host.spec(), mounts=(Mount(tmp_path, target, "sha256:x"),))
    with pytest.raises(SandboxError, match="nothing can be mounted"):
        host.driver.create(spec)
    assert not (spec.directory / "out").exists()


def test_a_sandbox_that_cannot_be_made_leaves_nothing(host: Bench, tmp_path: Path) -> None:
    spec = replace(host.spec(), mounts=(Mount(tmp_path / "gone", "/app", "sha256:x"),))
    with pytest.raises(SandboxError):
        host.driver.create(spec)
    assert list(spec.directory.iterdir()) == []
    assert host.driver.reap(frozenset().__contains__) == ()


def test_an_image_that_is_not_unpacked_is_missing(host: Bench) -> None:
    with pytest.raises(ImageMissing):
        host.driver.create(replace(host.spec(), image=Image("python", "sha256:x")))


def test_a_bubblewrap_that_does_not_run_is_said_with_the_cure() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        BubblewrapDriver(state=STATE, bwrap=Path("/bin/false")).check()
    assert "kernel.apparmor_restrict_unprivileged_userns" in caught.value.cure


def test_a_mount_of_another_s_that_ends_while_we_look_does_not_matter(host: Bench, tmp_path: Path) -> None:
    real = host.driver._bwrap  # type: ignore[attr-defined]
    once, flaky = tmp_path / "once", tmp_path / "bwrap"
    words = "bwrap: Can't bind mount /oldroot/ on /newroot/: Unable to apply mount flags: remount /newroot/x"
    fails = f'if [ "$1" != --version ] && mkdir {once} 2>/dev/null; then echo "{words}" >&2; exit 1; fi'
    flaky.write_text(f'#!/bin/sh\n{fails}\nexec {real} "$@"\n')
    flaky.chmod(0o755)
    driver = BubblewrapDriver(state=STATE, bwrap=flaky)
    assert driver.check().engine == "bubblewrap"
    assert once.is_dir()
    driver.close()


def test_a_step_is_fast(host: Bench) -> None:
    import time

    taken = []
    for _ in range(9):
        began = time.perf_counter()
        assert host.run("true", order=Order()).exit.code == 0
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.1, taken  # what else the machine does may delay some of them, and hardly all


def test_folders_above_a_target_that_the_image_lacks_are_opened_up(tmp_path: Path) -> None:
    (tmp_path / "opt" / "old").mkdir(parents=True)
    (tmp_path / "usr").mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "in").mkdir()
    assert image_pieces(tmp_path, ["/opt/app", "/usr"]) == (
        Piece("link", "/bin", "usr/bin"),
        Piece("dir", "/opt"),
        Piece("bind", "/opt/old", f"{tmp_path}/opt/old"),
        Piece("bind", "/usr", f"{tmp_path}/usr"),
    )


def test_the_command_line_ends_with_our_own_first_process() -> None:
    layout = Layout((), (("/snapshot", "/app"),), "/a/in", "/a/out", "/init")
    words = " ".join(bwrap_arguments(layout, LIMITS, Descriptors(3, 4)))
    assert words.endswith("--remount-ro / --chdir /work -- /.runner/init")
    for part in ("--unshare-net", "--unshare-pid", "--die-with-parent", "--cap-drop ALL", "--clearenv"):
        assert part in words
    assert "--ro-bind /snapshot /app" in words
    assert f"--perms 1777 --size {LIMITS.tmp} --tmpfs /tmp" in words


def test_version_2_groups_get_their_limits(tmp_path: Path) -> None:
    hierarchy = Hierarchy(2, dict.fromkeys(("cpu", "memory", "pids"), tmp_path))
    group = Group(hierarchy, "runner-x", "run-1")
    parent = tmp_path / "runner-x"
    group.make(LIMITS)
    assert (parent / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    (parent / "run-1" / "memory.events").write_text("oom 1\noom_kill 1\noom_group_kill 0\n")
    assert group.out_of_memory
    (parent / "run-1" / "memory.events").unlink()
    assert reap_groups(hierarchy, "runner-x", frozenset({"run"}).__contains__) == set()
    assert reap_groups(hierarchy, "runner-x", frozenset().__contains__) == {"run-1"}
