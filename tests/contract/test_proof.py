"""Before a step begins, PID 1 proves in that very sandbox that nothing leads out of it: shown with open ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carriers import Serving, deny
from contract_bench import STATE, Bench, Order

from runner.sandbox.base import Image, Outlet
from runner.sandbox.bubblewrap import process
from runner.sandbox.bubblewrap.driver import BubblewrapDriver
from runner.sandbox.docker import driver as docker

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PROXY = Order(outlets=(Outlet("127.0.0.1", 3128),), carrier=Serving(deny))


def assert_refused(bench: Bench) -> None:
    for order in (Order(), PROXY):
        result = bench.shell("echo ran", order)
        assert result.stdout == ""
        assert (result.exit.reason, result.exit.refused) == ("infra", True)
        assert "could not be proved closed: a network device is up in it" in result.exit.detail


def test_a_container_on_the_host_s_network_is_refused(
    docker_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = docker.container_request

    def opened(*given: object) -> dict[str, Any]:
        request = closed(*given)  # type: ignore[arg-type]
        del request["NetworkDisabled"], request["Hostname"]
        request["HostConfig"]["NetworkMode"] = "host"
        return request

    monkeypatch.setattr(docker, "container_request", opened)
    driver = docker.DockerDriver(state=STATE)
    try:
        assert_refused(Bench(driver, Image("busybox", "sha256:b", reference=docker_image), tmp_path))
    finally:
        driver.close()


def test_a_bubblewrap_on_the_host_s_network_is_refused(
    rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = process.bwrap_arguments

    def shared(*given: object) -> list[str]:
        return [word for word in arguments(*given) if word != "--unshare-net"]  # type: ignore[arg-type]

    monkeypatch.setattr(process, "bwrap_arguments", shared)
    driver = BubblewrapDriver(state=STATE)
    try:
        assert_refused(Bench(driver, Image("busybox", "sha256:b", rootfs), tmp_path))
    finally:
        driver.close()


def test_a_closed_sandbox_runs(real: Bench) -> None:
    assert real.shell("echo ran", PROXY).stdout == "ran\n"
    assert real.shell("echo ran").stdout == "ran\n"
