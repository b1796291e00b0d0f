"""Authors who want further than the operator lets them: each is refused, or reaches nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hostile_town import SECRET, Town, town

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Command, Done

ASK = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(url, urllib.request.urlopen(url, timeout=8).read().decode())
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError
        print(url, "not reached:", error)
"""


@pytest.fixture
def place(runner: Command, tmp_path: Path) -> Iterator[tuple[Command, Town]]:
    with town(tmp_path / "town") as made:
        made.policy(runner)
        made.bind(runner)
        (runner.project / "ask.py").write_text(ASK)
        yield runner, made


def step(*urls: str, **more: Any) -> dict[str, Any]:
    argv = ["python3", "/app/ask.py", *urls]
    return {"sandbox": "python", "run": argv, "mounts": ["./ask.py:/app/ask.py"], "effects": "read", **more}


def run(runner: Command, steps: dict[str, Any], staging: list[Any], **more: Any) -> Done:
    whole = {"name": "author", "secrets": ["key"], "staging": {"egress": staging}, "steps": steps, **more}
    return runner.run(json.dumps(whole), "bubblewrap")


def url(made: Town, name: str) -> str:
    return f"https://localhost:{made.ports[name]}"


HEADER = {"KEY": {"secret": "key", "as": "header"}}
SPELLED = {
    "a decimal address": "https://2130706433:$P",
    "a hexadecimal address": "https://0x7f000001:$P",
    "an octal address": "https://0177.0.0.1:$P",
    "a short address": "https://127.1:$P",
    "a mapped address": "https://[::ffff:127.0.0.1]:$P",
    "the address of an allowed name": "https://127.0.0.1:$P",
    "an address in wide digits": "https://\uff11\uff12\uff17.0.0.1:$P",
    "a name in wide letters": "https://\uff4c\uff4f\uff43\uff41\uff4chost.example:$P",
    "a zero-width joiner": "https://local\u200dhost:$P",
    "a zero-width space": "https://local\u200bhost:$P",
    "another dot": "https://127\u30020\u30020\u30021:$P",
    "a user": "https://x@localhost:$P",
    "a path": "https://localhost:$P/v1",
    "everything": "https://*:$P",
    "everything below a suffix": "https://*.com",
    "everything of a provider": "https://*.github.io",
    "another scheme": "file://localhost",
    "metadata": "http://169.254.169.254",
    "a zone": "https://[fe80::1%25eth0]",
    "nowhere": "https://0.0.0.0:$P",
    "a port that is none": "https://localhost:0",
    "a port beyond the last": "https://localhost:65536",
    "a line of its own": "https://localhost:$P\nx",
}


@pytest.mark.parametrize("way", SPELLED)
@pytest.mark.parametrize("private", [False, True])
def test_a_host_in_disguise_is_refused_or_reached_by_nobody(
    place: tuple[Command, Town], way: str, *, private: bool
) -> None:
    runner, made = place
    host = SPELLED[way].replace("$P", str(made.forbidden.port))
    rule = {"host": host, "private": True} if private else host
    done = run(runner, {"a": step(host.replace("\n", ""), egress=[rule])}, [rule])
    assert done.code in {2, 3} or "not reached" in done.err, done.err
    assert "Traceback" not in done.err
    assert made.forbidden.reached == []


def test_a_final_dot_and_capitals_are_the_same_host_and_no_other(place: tuple[Command, Town]) -> None:
    runner, made = place
    rule = {"host": f"https://LocalHost.:{made.hidden.port}", "private": True}
    done = run(runner, {"a": step(url(made, "HIDDEN"), egress=[rule])}, [rule])
    assert done.code == 3
    assert f"localhost:{made.hidden.port}" in done.err
    assert made.hidden.connections == 0


WORDS = {"egress": {"private": ["localhost:443"]}, "sources": {"identity": {"issuer": "https://x.example"}}}


@pytest.mark.parametrize("key", WORDS)
def test_a_project_cannot_say_what_the_operator_says(place: tuple[Command, Town], key: str) -> None:
    runner, _ = place
    (runner.project / "runner.yaml").write_text(json.dumps({key: WORDS[key]}))
    done = run(runner, {"a": step()}, [])
    assert done.code in {2, 3}
    assert key in done.err


def test_a_policy_of_the_project_s_own_is_no_policy(place: tuple[Command, Town]) -> None:
    runner, made = place
    where = f"localhost:{made.hidden.port}"
    for name in ("policy.yaml", "runner/policy.yaml", ".config/runner/policy.yaml"):
        path = runner.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"egress": {"private": [where]}}))
    rule = {"host": f"https://{where}", "private": True}
    env = {"RUNNER_POLICY": str(runner.project / "policy.yaml"), "XDG_CONFIG_HOME": str(runner.project)}
    done = run(runner, {"a": step(f"https://{where}", egress=[rule], env=env)}, [rule])
    assert done.code == 3
    assert made.hidden.connections == 0


def test_a_header_goes_to_no_host_of_the_author_s(place: tuple[Command, Town]) -> None:
    runner, made = place
    own = made.reach("API")
    done = run(runner, {"a": step(url(made, "API"), egress=[own], secrets=HEADER)}, [own])
    assert done.code == 3
    assert "is bound to" in done.err
    both = [own, made.reach("KEEPER")]
    asked = step(url(made, "API"), url(made, "KEEPER") + "/v1/x", egress=both, secrets=HEADER)
    assert run(runner, {"a": asked}, both).code == 0
    assert made.api.connections == 1
    assert SECRET.encode() not in b"".join(made.api.heard)
    assert SECRET.encode() in b"".join(made.keeper.heard)


def test_a_wildcard_over_the_bound_host_gets_no_header(place: tuple[Command, Town]) -> None:
    runner, made = place
    bound = ("--from", "store:kept", "--host", "api.example.com")
    assert runner("secrets", "bind", "key", *bound).code == 0
    wild = {"host": "https://*.example.com", "reason": "all of it"}
    done = run(runner, {"a": step("https://api.example.com", egress=[wild], secrets=HEADER)}, [wild])
    assert done.code == 3
    assert "does not reach" in done.err
    assert made.keeper.connections == 0


@pytest.mark.parametrize("form", [{"KEY": "key"}, {"KEY": {"secret": "key", "as": "env"}}])
def test_a_secret_for_a_header_is_not_had_as_a_file_where_more_can_be_reached(
    place: tuple[Command, Town], form: dict[str, Any]
) -> None:
    runner, made = place
    both = [made.reach("KEEPER"), made.reach("API")]
    done = run(runner, {"a": step(url(made, "API"), egress=both, secrets=form)}, both)
    assert done.code == 3
    assert made.api.connections == 0


def test_what_staging_opens_is_not_open_to_a_step_without_egress(place: tuple[Command, Town]) -> None:
    runner, made = place
    done = run(runner, {"a": step(url(made, "API"))}, [made.reach("API")])
    assert "not reached" in done.err
    assert made.api.connections == 0


def test_staging_cannot_open_a_private_host_that_production_does_not_name(
    place: tuple[Command, Town],
) -> None:
    runner, made = place
    done = run(runner, {"a": step(url(made, "HIDDEN"), egress=["https://x.example"])}, [made.reach("HIDDEN")])
    assert done.code == 3
    assert made.hidden.connections == 0


def test_variables_for_proxies_and_authorities_lead_nowhere(place: tuple[Command, Town]) -> None:
    runner, made = place
    env = dict.fromkeys(("NO_PROXY", "no_proxy"), "*")
    env |= dict.fromkeys(("ALL_PROXY", "http_proxy"), f"http://127.0.0.1:{made.forbidden.port}")
    direct = step(url(made, "API"), egress=[made.reach("API")], env=env)
    done = run(runner, {"a": direct}, [made.reach("API")])
    assert "not reached" in done.err
    assert made.api.connections == 0
    assert made.forbidden.reached == []


def test_compensations_last_steps_and_legs_reach_no_further(place: tuple[Command, Town]) -> None:
    runner, made = place
    hidden, api = made.reach("HIDDEN"), made.reach("API")
    asks = ["python3", "/app/ask.py", url(made, "HIDDEN"), url(made, "API")]
    closed = step(url(made, "HIDDEN"), url(made, "API"))
    steps = {
        "legs": {**closed, "strategy": {"matrix": {"leg": ["x", "y"]}}},
        "undone": {**step(), "effects": "write", "staging": {"run": ["true"]}, "compensate": {"run": asks}},
        "fails": {"needs": ["undone"], "sandbox": "python", "run": "exit 1"},
    }
    done = run(runner, steps, [api], **{"finally": {"last": closed}})
    assert done.code == 1, done.err
    assert made.hidden.connections == made.api.connections == 0
    for where in ({"compensate": {"run": asks, "egress": [hidden]}}, {"egress": [hidden]}):
        run(runner, {"undone": {**step(), "effects": "write", **where}, "fails": steps["fails"]}, [hidden])
    assert made.hidden.connections == 0


@pytest.mark.parametrize(
    "odd",
    ["https://*", "*", "https://*.com", "http://localhost:$P", "file:///etc/passwd", "https://x@localhost:$P",
     "--", "", " ", "https://localhost:$P https://x.example", "tcp://localhost:$P", "2130706433:$P", "[::1]:$P"],
)  # fmt: skip
def test_an_odd_host_on_the_command_line_opens_nothing(place: tuple[Command, Town], odd: str) -> None:
    runner, made = place
    host = odd.replace("$P", str(made.forbidden.port))
    command = ("--", "python3", "/in/ask.py", f"https://localhost:{made.forbidden.port}", "https://[::1]")
    done = runner(
        "exec", "--engine", "bubblewrap", "--sandbox", "python", "--in", "ask.py", "--egress", host, *command
    )
    assert done.code in {2, 3} or "not reached" in done.out, done
    assert made.forbidden.reached == []


CLAIMS = {
    "the file of authorities": {"secrets": {"ca-certificates.crt": "file"}},
    "the names of hosts": {"mounts": ["./ask.py:/etc/hosts"], "tcp": ["db.example:5432"]},
    "the carrier": {"mounts": ["./ask.py:/.runner/carrier"]},
    "PID 1": {"mounts": ["./ask.py:/.runner/init"]},
    "secrets": {"mounts": ["./ask.py:/run/secrets/ca-certificates.crt"]},
    "the proxy's port": {"tcp": [{"host": "localhost:3128", "private": True, "insecure": True}]},
    "one port twice": {"tcp": ["db.example:5432", "DB.example.:5432"]},
    "more outlets than there are": {"tcp": [f"db{number}.example:5432" for number in range(40)]},
}


@pytest.mark.parametrize("what", CLAIMS)
def test_what_is_the_sandbox_s_own_cannot_be_claimed(place: tuple[Command, Town], what: str) -> None:
    runner, made = place
    runner("secrets", "set", "file", stdin=b"-----BEGIN CERTIFICATE-----")
    api = made.reach("API")
    claim = {"egress": [api], **CLAIMS[what]}
    mounts = ["./ask.py:/app/ask.py", *claim.pop("mounts", [])]
    staging = [api, *({"tcp": each} for each in claim.get("tcp", []))]
    asks = step(url(made, "FORBIDDEN"), **claim) | {"mounts": mounts}
    done = run(runner, {"a": asks}, staging, secrets=["key", "file"])
    if "tcp" in claim and not mounts[1:]:
        assert done.code == 2, done.err
    assert done.code in {1, 2, 3, 4} or "not reached" in done.err, done.err
    assert "Traceback" not in done.err
    assert made.forbidden.reached == []
