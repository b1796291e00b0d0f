"""The plan that a script is watched by: its folder under ``/app``, ample limits, and nothing let through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.draft.script import APP
from runner.errors import UsageError
from runner.planning.digests import plan_digest
from runner.plans import plan_command
from runner.sandbox.base import Mount
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runner.draft.folder import Folder
    from runner.draft.script import Script
    from runner.planning.plan import Plan
    from runner.settings import Settings
    from runner.workflow.hosts import Rule

MEMORY, PROCESSES = "2GiB", 512
LINKED = f"cp -Rs {APP}/. ."
"""Shows the script its folder as its working directory, where it can also write."""
LEFT = "left"
_MOST_LEFT = 200
_END = "---- end of what was left ----"


@dataclass(frozen=True, slots=True)
class Watch:
    """How a script is watched: the project of the workflow to be, the hosts that are open, the timeout."""

    project: Path
    opened: tuple[Rule, ...]
    timeout: str


def opened(hosts: Iterable[str], private: frozenset[str]) -> tuple[Rule, ...]:
    """Return the rules of ``--egress HOST``; what the operator's policy has as private may be private."""
    return tuple(_opened(host, private) for host in hosts)


def _opened(text: str, private: frozenset[str]) -> Rule:
    written: dict[str, object] = {"host": text, "insecure": text.startswith("http://")}
    try:
        rule = parse_rule(written)
        return parse_rule({**written, "private": True}) if f"{rule.host}:{rule.port}" in private else rule
    except ValueError as error:
        raise UsageError(f"--egress {error}") from None


def watched_plan(settings: Settings, script: Script, folder: Folder, watch: Watch) -> Plan:
    """Return the plan; raises ``UsageError`` for a profile that there is not, or a timeout that is none."""
    words = _command(script)
    step: dict[str, Any] = {
        "run": words,
        "sandbox": script.profile,
        "timeout": watch.timeout,
        "out": ["**"],
        "resources": {"memory": MEMORY, "pids": PROCESSES},
    }
    if watch.opened:  # who types them wants them reached
        step |= {"egress": [_entry(rule) for rule in watch.opened], "staging": {"run": words}}
    plan = plan_command(settings, step, [])
    command = plan.steps["command"]
    image = replace(command.image, lock=_taken(settings, script.lock, watch.project))
    planned = replace(
        command,
        id=script.name,
        step=script.name,
        image=image,
        mounts=(Mount(folder.root, APP, folder.digest),),
        egress=command.egress
        or (),  # a way out where nothing is open: what it asks for is denied, and recorded
    )
    digest = plan_digest(plan.definition, plan.mode, {APP: folder.digest}, {})
    return replace(
        plan,
        workflow=f"init-{script.name}",
        steps={script.name: planned},
        digest=digest,
        project=str(watch.project),
    )


def _taken(settings: Settings, lock: Path | None, project: Path) -> str:
    """Return the snapshot of a lock file, by its digest; empty where there is none."""
    if lock is None:
        return ""
    from runner.planning.snapshots import Snapshots
    from runner.store.layout import Layout

    return Snapshots(Layout(settings.home).snapshots).take(lock, project)[0]


def _entry(rule: Rule) -> dict[str, object]:
    scheme = "tcp" if rule.kind == "tcp" else "http" if rule.insecure else "https"
    host = f"[{rule.host}]" if ":" in rule.host else rule.host
    return {"host": f"{scheme}://{host}:{rule.port}", "insecure": rule.insecure, "private": rule.private}


def _command(script: Script) -> str:
    """Return the workflow's own command, and after it a look at what it leaves where nothing is kept."""
    return (
        f"{LINKED}\ncode=0\n{script.command} || code=$?\n"
        f"{{ echo '{LEFT}<<{_END}'; find . -type f | head -n {_MOST_LEFT}; echo '{_END}'; }}"
        ' >> "$RUNNER_OUTPUT" || true\nexit $code\n'
    )
