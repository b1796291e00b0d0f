"""The system call policy of every sandbox: one file, for Docker as it stands and for bubblewrap compiled.

``sandboxes/seccomp/docker.json`` is an allow-list in Docker's format, after the default profile of the moby
project without the parts that need capabilities, io_uring, keys, ptrace and sockets of unusual families.
The compiled form is classic BPF over ``struct seccomp_data`` (linux/seccomp.h): nr at 0, architecture at 4,
arguments as six little-endian u64 from 16 on.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import SandboxError
from runner.sandbox.shipped import shipped_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_KILL = 0x80000000
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EPERM, _ENOSYS = 1, 38
_X32 = 0x40000000
_LAST = 0xFFFFFFFF

_LOAD, _AND, _JUMP, _IF_EQUAL, _IF_GREATER_OR_EQUAL, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_MAX_SHORT = 255


@dataclass(frozen=True, slots=True)
class Instruction:
    """One ``struct sock_filter``: code, jumps when true and false, and a constant."""

    code: int
    k: int
    jt: int = 0
    jf: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """System calls from number ``first`` up to the next segment's, and the code that judges them."""

    first: int
    code: tuple[Instruction, ...]


def docker_profile() -> str:
    """Return the profile as JSON text, for ``--security-opt seccomp=``."""
    return json.dumps(_policy(), separators=(",", ":"))


def bpf_program(machine: str) -> bytes:
    """Compile the policy for ``machine`` (``x86_64`` or ``aarch64``), as bubblewrap's ``--seccomp`` reads it.

    Raises ``SandboxError`` for another machine.
    """
    if machine not in _AUDIT_ARCH:
        raise SandboxError(f"there is no system call table for {machine}")
    numbers = json.loads((_folder() / f"syscalls-{machine}.json").read_text())
    segments = _segments(_verdicts(_policy()["syscalls"], numbers), last=max(numbers.values()))
    if machine == "x86_64":
        segments += [Segment(_X32, _return(_KILL)), Segment(_LAST, _return(_ERRNO | _ENOSYS))]
    program = [
        Instruction(_LOAD, 4),
        Instruction(_IF_EQUAL, _AUDIT_ARCH[machine], jt=1),
        *_return(_KILL),
        Instruction(_LOAD, 0),
        *_search(segments),
    ]
    return b"".join(struct.pack("=HBBI", i.code, i.jt, i.jf, i.k) for i in program)


def _folder() -> Path:
    return shipped_folder() / "seccomp"


def _policy() -> dict[str, Any]:
    policy: dict[str, Any] = json.loads((_folder() / "docker.json").read_text())
    return policy


def _verdicts(rules: Iterable[dict[str, Any]], numbers: dict[str, int]) -> dict[int, tuple[Instruction, ...]]:
    """Return the code for each number that a rule names; rules for one call are alternatives."""
    checks: dict[int, list[Instruction]] = {}
    for rule in rules:
        for name in rule["names"]:
            if name in numbers:
                checks.setdefault(numbers[name], []).extend(_rule(rule))
    refuse = _return(_ERRNO | _EPERM)
    return {n: tuple(c) if len(c) == 1 else (*c, *refuse) for n, c in checks.items()}


def _rule(rule: dict[str, Any]) -> list[Instruction]:
    """Compile one rule: on a match its action, else fall through to what follows."""
    allow = rule["action"] == "SCMP_ACT_ALLOW"
    code = list(_return(_ALLOW if allow else _ERRNO | rule.get("errnoRet", _EPERM)))
    for argument in reversed(rule.get("args") or []):
        code = [*_condition(argument, miss=len(code)), *code]
    return code


def _condition(argument: dict[str, Any], miss: int) -> list[Instruction]:
    """Compile one comparison of 64 bits, in halves; when it fails, skip ``miss`` instructions more."""
    mask, wanted = (1 << 64) - 1, argument["value"]
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        mask, wanted = argument["value"], argument["valueTwo"]
    elif argument["op"] != "SCMP_CMP_EQ":
        raise SandboxError(f"the system call policy uses {argument['op']}, which is not known here")
    code: list[Instruction] = []
    for shift in (0, 32):
        part = mask >> shift & _LAST
        if part == 0:
            continue
        skip = miss + len(code)
        masking = [] if part == _LAST else [Instruction(_AND, part)]
        test = Instruction(_IF_EQUAL, wanted >> shift & _LAST, jf=skip)
        code = [Instruction(_LOAD, 16 + 8 * argument["index"] + shift // 8), *masking, test, *code]
    return code


def _return(action: int) -> tuple[Instruction, ...]:
    return (Instruction(_RETURN, action),)


def _segments(verdicts: dict[int, tuple[Instruction, ...]], last: int) -> list[Segment]:
    """Join neighbours with one verdict; calls younger than the table do not exist, so programs fall back."""
    refuse = _return(_ERRNO | _EPERM)
    segments: list[Segment] = []
    for number in range(last + 1):
        code = verdicts.get(number, refuse)
        if not segments or segments[-1].code != code:
            segments.append(Segment(number, code))
    return [*segments, Segment(last + 1, _return(_ERRNO | _ENOSYS))]


def _search(segments: Sequence[Segment]) -> list[Instruction]:
    """Compile a binary search over ``segments``, sorted by ``first``."""
    if len(segments) == 1:
        return list(segments[0].code)
    middle = len(segments) // 2
    below, above = _search(segments[:middle]), _search(segments[middle:])
    first = segments[middle].first
    if len(below) <= _MAX_SHORT:
        return [Instruction(_IF_GREATER_OR_EQUAL, first, jt=len(below)), *below, *above]
    jump = Instruction(_JUMP, len(below))
    return [Instruction(_IF_GREATER_OR_EQUAL, first, jf=1), jump, *below, *above]
