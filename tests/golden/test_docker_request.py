from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from runner.sandbox.base import Image, Limits, Mount, SandboxSpec
from runner.sandbox.docker.request import (
    Identity,
    Setting,
    container_name,
    container_request,
)

MIB = 1024 * 1024
LIMITS = Limits(
    memory=256 * MIB,
    cpus=1.5,
    pids=64,
    files=1024,
    tmp=64 * MIB,
    shm=16 * MIB,
    work=128 * MIB,
    output=32 * MIB,
    log=MIB,
)
SPEC = SandboxSpec(
    run="20261124-abc",
    step="load[month=10]",
    attempt=2,
    image=Image("python", "sha256:feed", reference="runner/python:1"),
    mounts=(Mount(Path("/snapshots/9f"), "/app", "9f"),),
    limits=LIMITS,
    directory=Path("/state/attempts/7"),
)
SETTING = Setting(
    identity=Identity("5eed5eed5eed", "boot-id", 4242),
    runtime="runc",
    uid=10001,
    gid=10001,
    init=Path("/opt/runner/sandbox-init-x86_64"),
    seccomp='{"defaultAction":"SCMP_ACT_ERRNO"}',
)
WAY = (
    (SPEC.directory / "hosts", "/etc/hosts"),
    (SPEC.directory / "carrier", "/.runner/carrier"),
)
GOLDEN = Path(__file__).parent / "docker_request.json"


def every_request() -> dict[str, object]:
    gvisor = replace(SETTING, runtime="runsc")
    return {
        "under runc": container_request(SPEC, SETTING, ()),
        "image with volumes": container_request(SPEC, SETTING, ("/var/lib/data",)),
        "with a way out": container_request(SPEC, SETTING, (), WAY),
        "under gVisor": container_request(SPEC, gvisor, ()),
    }


def test_a_spec_becomes_exactly_this_request() -> None:
    assert every_request() == json.loads(GOLDEN.read_text())


def test_volumes_are_covered_by_their_plain_path_and_never_cover_what_is_ours() -> None:
    declared = ("//data//", "/work/", "/out", "/in/", "/app/.")
    tmpfs = container_request(SPEC, SETTING, declared)["HostConfig"]["Tmpfs"]
    assert set(tmpfs) == {"/data", "/work", "/tmp", "/run/secrets"}


def test_no_request_holds_a_capability_or_an_unbounded_limit() -> None:
    host = container_request(SPEC, SETTING, ())["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["MemorySwap"] == host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert all("size=" in options for options in host["Tmpfs"].values())
    assert not {"CapAdd", "Devices", "PortBindings", "VolumesFrom", "PidMode"} & set(host)


def test_every_request_asks_for_no_network_in_both_ways_that_an_engine_knows() -> None:
    for request in (
        container_request(SPEC, replace(SETTING, runtime=name), ()) for name in ("runc", "runsc")
    ):
        assert request["NetworkDisabled"] is True
        assert request["HostConfig"]["NetworkMode"] == "none"


def test_names_differ_by_attempt_and_step_and_are_the_same_after_a_crash() -> None:
    first = container_name("5eed5eed5eed", SPEC)
    assert first == container_name("5eed5eed5eed", replace(SPEC))
    assert first.startswith("runner-5eed5eed-20261124-abc-")
    others = [replace(SPEC, attempt=3), replace(SPEC, step="other"), replace(SPEC, run="r2")]
    others.append(replace(SPEC, directory=Path("/state/attempts.1/7")))
    assert len({first, *(container_name("5eed5eed5eed", other) for other in others)}) == 5
