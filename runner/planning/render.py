"""A plan for people: as a list, as a drawing, and in plain words."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from runner.planning.codec import plan_from_json, plan_json
from runner.planning.draw import graph
from runner.planning.inherit import argv_of
from runner.sandbox.packages import TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.planning.plan import Plan, PlannedStep, SecretUse
    from runner.workflow.load import LoadedWorkflow
    from runner.workflow.model import Step

__all__ = ["explain", "graph", "plan_from_json", "plan_json", "plan_text"]

_SHELL = ("/bin/sh", "-ec")
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def plan_text(plan: Plan) -> str:
    """Return the plan as text: the head, then every step in order."""
    head = [
        f"{plan.workflow} ({plan.mode}) from {plan.file}",
        f"definition {plan.definition}",
        f"plan       {plan.digest}",
    ]
    head += [f"input      {name} = {value}" for name, value in plan.inputs.items()]
    head += [f"warning    {warning}" for warning in plan.warnings]
    blocks = ["\n".join(_lines(step)) for step in plan.steps.values()]
    return "\n\n".join(["\n".join(head), *blocks])


def _lines(step: PlannedStep) -> Iterator[str]:
    marks = [mark for mark, given in (("finally", step.final), ("shadowed", step.shadowed)) if given]
    yield f"{step.id}" + (f"  ({', '.join(marks)})" if marks else "")
    yield f"  run      {command(step.argv)}"
    yield f"  image    {step.image.name} ({step.image.kind}){_packages(step)}"
    if step.needs:
        yield f"  needs    {', '.join(step.needs)}"
    if step.condition:
        yield f"  if       {step.condition}"
    for each in step.inputs:
        yield f"  in       /in/{each.name} from {each.step}/{each.file}"
    for mount in step.mounts:
        yield f"  mount    {mount.target} (snapshot {mount.digest[:12]})"
    for name, value in step.env.items():
        yield f"  env      {name}={value}"
    for secret in step.secrets:
        yield f"  secret   {secret.name} ({secret.secret}, {_form(secret)})"
    yield from (f"  egress   {rule.written}" for rule in step.egress or ())
    yield from (f"  closed   {rule.written} (not under staging.egress)" for rule in step.closed)
    if step.outputs:
        yield f"  out      {', '.join(step.outputs)}"
    yield f"  limits   {_limits(step)}"
    yield f"  effects  {step.effects}, at most {step.retry.max_attempts} attempt(s)"
    yield from _failsafes(step)


def _packages(step: PlannedStep) -> str:
    return f" + Python packages of the lock file {step.image.lock[:12]}" if step.image.lock else ""


def _failsafes(step: PlannedStep) -> Iterator[str]:
    if step.breaker:
        yield f"  breaker  {step.breaker.name} ({step.breaker.failures} failures, {step.breaker.reset:g}s)"
    if step.compensate:
        yield f"  undo     {command(step.compensate.argv)} (after {', '.join(step.compensate_on)})"
    elif step.irreversible:
        yield "  undo     none: it is irreversible"


def command(argv: tuple[str, ...]) -> str:
    """Return a command on one line."""
    if argv[:2] == _SHELL:
        lines = argv[2].strip().splitlines() or [""]
        return lines[0] if len(lines) == 1 else f"{lines[0]} … ({len(lines)} lines)"
    return shlex.join(argv)


def size(count: int) -> str:
    """Return bytes in the largest unit that divides them."""
    for unit, name in _UNITS:
        if count and count % unit == 0:
            return f"{count // unit}{name}"
    return f"{count}B"


def _limits(step: PlannedStep) -> str:
    limits = step.limits
    return (
        f"{size(limits.memory)} memory, {limits.cpus:g} CPU, {limits.pids} processes, "
        f"{size(limits.output)} output, {size(limits.log)} log, {step.timeout:g}s"
    )


def explain(loaded: LoadedWorkflow, plan: Plan) -> str:
    """Return in plain words what each step can do and what it cannot, and what holds it back."""
    model = loaded.model
    written = {**model.steps, **model.finally_steps}
    head = [f"{plan.workflow}: {model.description}" if model.description else plan.workflow]
    head.append(_mode_words(plan))
    blocks = ["\n".join(_words(step, written[step.step])) for step in plan.steps.values()]
    return "\n\n".join(["\n".join(head), *blocks, "\n".join(_common())])


def _mode_words(plan: Plan) -> str:
    shadowed = sum(step.shadowed for step in plan.steps.values())
    if plan.mode != "staging":
        return f"This is {plan.mode}: writes are performed."
    return f"This is staging: {shadowed} step(s) that write outside would not be performed."


def _words(step: PlannedStep, written: Step) -> Iterator[str]:
    yield f"{step.id} runs `{command(step.argv)}`"
    if step.shadowed:
        yield "  does not run in staging: it writes, and has no staging.run"
    elif step.argv != argv_of(written.run):
        yield "  is its staging.run: the real command writes"
    yield f"  {_order_words(step)}"
    yield f"  can read {_read_words(step)}"
    yield f"  can write /work, /tmp and /out; of /out is kept: {', '.join(step.outputs) or 'nothing'}"
    yield f"  can reach {_network_words(step)}"
    yield f"  can use {_secret_words(step)}"
    yield f"  is stopped over {_limits(step)} (control group and timer)"
    again = step.retry.max_attempts - 1
    yield f"  is tried again up to {again} time(s)" if again else "  is tried once"
    yield f"  {_undo_words(step)}"


def _undo_words(step: PlannedStep) -> str:
    if step.compensate:
        return f"is undone by `{command(step.compensate.argv)}` when the run fails or is rolled back"
    if step.effects != "write":
        return "writes nothing outside, so that there is nothing to undo"
    return "cannot be undone: it is irreversible" if step.irreversible else "cannot be undone: no compensate"


def _order_words(step: PlannedStep) -> str:
    when = "after everything else, whatever happened" if step.final else "at once"
    if step.needs:
        when = f"after {', '.join(step.needs)}"
    return f"starts {when}" + (f", if {step.condition}" if step.condition else "")


def _read_words(step: PlannedStep) -> str:
    places = [f"/in/{each.name} (from {each.step})" for each in step.inputs]
    places += [f"{mount.target} (a snapshot, read-only)" for mount in step.mounts]
    if step.image.lock:
        places.append(f"{TARGET} (Python packages of the lock file {step.image.lock[:12]}, read-only)")
    return ", ".join([*places, f"its own root file system ({step.image.name}, read-only)"])


def _network_words(step: PlannedStep) -> str:
    if step.egress is None:
        return "no network: its network namespace has a loopback alone"
    hosts = ", ".join(rule.written for rule in step.egress or ()) or "no host in staging (see staging.egress)"
    return f"{hosts} and nothing else, through the egress proxy"


def _secret_words(step: PlannedStep) -> str:
    if not step.secrets:
        return "no secret"
    names = (f"{each.name} ({_form(each)})" for each in step.secrets)
    return f"the secret(s) {', '.join(names)}, from memory, masked in logs"


def _form(secret: SecretUse) -> str:
    if secret.as_header:
        return "a header that the proxy adds"
    return "file and variable" if secret.as_env else "file"


def _common() -> Iterator[str]:
    yield "No step can"
    yield "  see a file of the host or change a mount (mount namespace, read-only binds of snapshots)"
    yield "  see or signal a process outside (process namespace; everything dies with its first process)"
    yield "  become root or gain a capability (own user, no capabilities, no-new-privileges)"
    yield "  use an uncommon system call (seccomp filter)"
    yield "  leave anything behind for the next attempt (a new sandbox each time)"
