"""The plan that a script is watched by: its folder under ``/app``, ample limits, and nothing let through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.draft.script import APP
from runner.planning.digests import plan_digest
from runner.planning.snapshots import Snapshots
from runner.plans import plan_command
from runner.sandbox.base import Mount
from runner.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.draft.folder import Folder
    from runner.draft.script import Script
    from runner.planning.plan import ImageRef, Plan
    from runner.settings import Settings

MEMORY, PROCESSES = "2GiB", 512
LINKED = f"cp -Rs {APP}/. ."
"""Shows the script its folder as its working directory, where it can also write."""
LEFT = "left"
_MOST_LEFT = 200
_END = "---- end of what was left ----"


@dataclass(frozen=True, slots=True)
class Watch:
    """How a script is watched: the project of the workflow to be, and the timeout.

    ``hosts`` are the entries of ``egress`` that are open, ``lock`` is a file of Python packages.
    """

    project: Path
    timeout: str
    hosts: Sequence[dict[str, Any]] = ()
    lock: Path | None = None


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
    if watch.hosts:  # who types them wants them reached
        step |= {"egress": watch.hosts, "staging": {"run": words}}
    plan = plan_command(settings, step, [])
    command = plan.steps["command"]
    planned = replace(
        command,
        id=script.name,
        step=script.name,
        image=_equipped(settings, command.image, watch),
        mounts=(Mount(folder.root, APP, folder.digest),),
        egress=command.egress or (),  # a way out to nowhere: what it asks for is denied, and recorded
    )
    digest = plan_digest(plan.definition, plan.mode, {APP: folder.digest}, {})
    return replace(
        plan,
        workflow=f"init-{script.name}",
        steps={script.name: planned},
        digest=digest,
        project=str(watch.project),
    )


def _equipped(settings: Settings, image: ImageRef, watch: Watch) -> ImageRef:
    """Return the image with the packages of the lock file; raises ``WorkflowError`` for one elsewhere."""
    if watch.lock is None:
        return image
    digest, _ = Snapshots(Layout(settings.home).snapshots).take(watch.lock, watch.project)
    return replace(image, lock=digest)


def _command(script: Script) -> str:
    """Return the workflow's own command, and after it a look at what it leaves where nothing is kept."""
    return (
        f"{LINKED}\ncode=0\n{script.command} || code=$?\n"
        f"{{ echo '{LEFT}<<{_END}'; find . -type f | head -n {_MOST_LEFT}; echo '{_END}'; }}"
        ' >> "$RUNNER_OUTPUT" || true\nexit $code\n'
    )
