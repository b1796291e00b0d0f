"""How Python packages are installed: as a plan of one step, with the operator's hosts and no others.

It has no secret, and builds and runs nothing of the packages: wheels alone, each checked against its hash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runner.errors import UsageError
from runner.planning.plan import Input, Plan, PlannedStep, Retry
from runner.sandbox.base import Limits, Mount

if TYPE_CHECKING:
    from pathlib import Path

    from runner.index import PackageIndex
    from runner.planning.plan import ImageRef
    from runner.workflow.hosts import Rule

FORMAT = 1
"""Raised whenever the same lock file would be installed in another way."""

_SUFFIX = ":requirements"
"""Ends the name of the run that installs a workflow's packages; no workflow can be named so."""
STEP, LOCK, ARCHIVE = "install", "requirements.txt", "packages.tar"
PYTHON = "/usr/bin/python3"
_UV = "/opt/uv"
_SCRIPT = f"""
{_UV} pip install --require-hashes --only-binary :all: --default-index "$INDEX" --python {PYTHON} \\
    --target /out/packages --compile-bytecode -r /in/{LOCK}
rm -rf /out/cache
tar -C /out/packages -cf /out/{ARCHIVE} --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \\
    --mode=u+rwX,go=u,go-w --exclude=./.lock .
"""
_MIB = 1 << 20
_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be installed: the packages of ``lock`` (a file) for ``image``, by ``uv`` (a program)."""

    key: str
    image: ImageRef
    lock: Path
    uv: Path
    version: str


def installation(plan: Plan, order: Order, index: PackageIndex, private: frozenset[str]) -> Plan:
    """Return the plan that installs what ``plan`` needs; its one result is ``ARCHIVE``, a tar.

    ``private`` are the hosts (``host:port``) that may stand on private addresses. Raises ``UsageError``.
    """
    step = PlannedStep(
        id=STEP,
        step=STEP,
        needs=(),
        image=order.image,
        argv=("/bin/sh", "-ec", _SCRIPT),
        env=_environment(index),
        condition="",
        mounts=(Mount(order.uv, _UV, order.version),),
        limits=_limits(index.most),
        inputs=(Input(LOCK, "", str(order.lock)),),
        outputs=(ARCHIVE,),
        secrets=(),
        timeout=_SECONDS,
        grace=2.0,
        retry=Retry(),
        effects="read",
        idempotent=True,
        egress=_rules(index, private),
    )
    return Plan(
        workflow=plan.workflow + _SUFFIX,
        file=plan.file,
        mode=plan.mode,
        definition=order.key,
        digest=order.key,
        owner=plan.owner,
        runbook=plan.runbook,
        inputs={},
        steps={STEP: step},
        project=plan.project,
    )


def installs(plan: Plan) -> bool:
    """Whether the plan installs packages: its result is for the cache of the process that asked for it."""
    return plan.workflow.endswith(_SUFFIX)


def _rules(index: PackageIndex, private: frozenset[str]) -> tuple[Rule, ...]:
    """Return the hosts of the index, in whatever mode: they are the operator's word, not the author's."""
    from runner.workflow.hosts import line, parse_rule

    rules: dict[str, Rule] = {}
    for address in (index.address, *index.files):
        try:
            rule = parse_rule(f"https://{urlsplit(address).netloc}")
        except ValueError as error:
            raise UsageError(f"python: in the operator's policy: {error}") from error
        place = f"{rule.host}:{rule.port}"
        rule = replace(rule, private=place in private)
        rules[place] = replace(rule, written=line(rule))
    return tuple(rules.values())


def _environment(index: PackageIndex) -> dict[str, str]:
    """Return what uv is told; its cache stands beside the result, so that nothing is copied."""
    return {
        "INDEX": index.address,
        "NO_COLOR": "1",
        "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",  # what is kept has no times
        "UV_CACHE_DIR": "/out/cache",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _limits(most: int) -> Limits:
    """Return the limits: for a moment the packages stand twice, as files and in the archive."""
    return Limits(
        memory=1024 * _MIB,
        cpus=2.0,
        pids=512,
        files=4096,
        tmp=64 * _MIB,
        shm=16 * _MIB,
        work=16 * _MIB,
        output=2 * most + 16 * _MIB,
        log=_MIB,
    )
