"""The guide to the network: its workflow is one, its policy is read, and its denial is what a step is told."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import yaml
from conftest import CHECKOUT

if TYPE_CHECKING:
    from conftest import Command

GUIDE = (CHECKOUT / "docs" / "network.md").read_text()
WORKFLOW, POLICY, HEADER = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
(DENIAL,) = re.findall(r"^runner: egress denied: .*$", GUIDE, re.MULTILINE)
(BIND,) = re.findall(r"^runner secrets bind .*?(?=^```)", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_workflow_is_valid_with_the_header_secret_too(runner: Command) -> None:
    assert runner("validate", runner.workflow(WORKFLOW)).code == 0
    loaded = yaml.safe_load(WORKFLOW)
    loaded["steps"]["fetch"] |= yaml.safe_load(HEADER)
    loaded["secrets"] = ["api_token"]
    done = runner("explain", runner.workflow(yaml.safe_dump(loaded)))
    assert done.code == 0, done.err
    assert "https://sandbox.example.com" in done.out
    assert "a header that the proxy adds" in done.out


def test_the_policy_is_the_operators_and_refused_in_a_project(runner: Command) -> None:
    config = runner.home.parent / "config" / "runner"
    config.mkdir(parents=True)
    policy = yaml.safe_load(POLICY)
    del policy["egress"]["ca"]
    (config / "policy.yaml").write_text(yaml.safe_dump(policy))
    path = runner.workflow(WORKFLOW)
    assert runner("plan", path).code == 0
    (runner.project / "runner.yaml").write_text(yaml.safe_dump(policy))
    refused = runner("plan", path)
    assert refused.code == 2
    assert "operator's alone" in refused.err


def test_a_denial_says_what_the_guide_says_and_the_binding_is_taken(runner: Command) -> None:
    asks = (
        "import urllib.request, urllib.error\n"
        "try: urllib.request.urlopen('http://api.example.org:443/')\n"
        "except urllib.error.HTTPError as error: print(error.read().decode())\n"
    )
    (runner.project / "ask.py").write_text(asks)
    command = ("exec", "--engine", "bubblewrap", "--sandbox", "python", "--in", "ask.py")
    done = runner(*command, "--egress", "https://api.example.com", "--", "python3", "/in/ask.py")
    assert DENIAL in done.out.replace("command | ", "")
    assert runner(*shlex.split(BIND.replace("\\\n", ""))[1:]).code == 0
    assert "api.example.com" in runner("secrets", "list").out
