"""The workflow that a watched script needs, each line with its evidence: a pure function."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.draft import sizes
from runner.draft.compose_files import write_mounts, write_outputs, write_run
from runner.draft.compose_network import write_egress, write_staging
from runner.draft.page import Page, listed, quoted
from runner.draft.watched import MEMORY, PROCESSES
from runner.workflow.locks import MAKE_LOCK

if TYPE_CHECKING:
    from runner.draft.compose_files import Files
    from runner.draft.compose_network import Network
    from runner.draft.hints import Hints
    from runner.draft.script import Script
    from runner.draft.seen import Seen

_PACKAGES = {
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python", "dateutil": "python-dateutil",
    "dotenv": "python-dotenv", "yaml": "pyyaml", "sklearn": "scikit-learn", "serial": "pyserial",
    "Crypto": "pycryptodome", "fitz": "pymupdf", "docx": "python-docx", "jwt": "pyjwt",
}  # fmt: skip
_BLOCK = "# /// script"
_STEP = "    "
_ENDS = {
    "out-of-memory": f"it was ended at {MEMORY}: it may need more than this",
    "timeout": "it still ran when its time was over: it may need more than this",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """All that a workflow is made of; ``lock`` is the path of a lock file from the workflow's folder."""

    script: Script
    seen: Seen
    hints: Hints
    files: Files
    network: Network
    lock: str = ""


def compose(draft: Draft) -> str:
    """Return the text of the workflow."""
    page = Page()
    script = draft.script
    _write_head(page, draft)
    page.add(f"name: {script.name}")
    names = sorted({each.word.lower() for each in draft.hints.credentials})
    if names:
        page.add(f"secrets: {listed(names)}", "names only: their values come from the operator")
    write_staging(page, draft.network, "")
    page.add("steps:")
    page.add(f"  {script.name}:")
    page.add(f"{_STEP}sandbox: {quoted(script.profile)}", script.why)
    _write_requirements(page, draft)
    write_mounts(page, draft.files)
    commands = write_run(page, draft.files)
    write_outputs(page, draft.files)
    _write_variables(page, draft)
    write_egress(page, draft.network, _STEP)
    write_staging(page, draft.network, _STEP, commands)
    _write_limits(page, draft.seen)
    return page.text()


def lock_beside(script: Script) -> str:
    """Return the name of the lock file that belongs beside a script."""
    return f"{script.path.name}.txt"


def _write_head(page: Page, draft: Draft) -> None:
    seen, name = draft.seen, draft.script.path.name
    page.note("", f"Written by `runner init` from what {name} did once, in staging, on {seen.engine}.")
    page.note(
        "",
        "It may do that again and no more. The evidence stands beside each line; read it before you run it.",
    )
    if seen.reason is not None:
        page.note(
            "",
            f"IT FAILED WHILE WATCHED: {seen.detail or seen.reason}. What came after is not known.",
        )
    for warning in seen.warnings:
        page.note("", f"warning: {warning}")


def _write_requirements(page: Page, draft: Draft) -> None:
    if draft.lock:
        page.add(f"{_STEP}requirements: {quoted(draft.lock)}", "the packages that were there")
    lines = {} if draft.lock else {each.word: f"line {each.line}" for each in draft.hints.modules}
    missing = {name.split(".")[0] for name in draft.seen.missing} - draft.files.own
    names = sorted(set(lines) | missing)
    for name in names:
        what = "was not there" if name in missing else "is imported, and not from here"
        page.note(_STEP, f"{name} {what}{f' ({lines[name]})' if name in lines else ''}")
    if names:
        page.note(_STEP, f"requirements: {lock_beside(draft.script)}  is a lock file of them, made by")
        page.note(_STEP, f"  {_making(draft.script, names)}")


def _making(script: Script, modules: list[str]) -> str:
    """Return the command that makes a lock file: of what the script's own block says, if it has one."""
    lock = shlex.quote(lock_beside(script))
    if _BLOCK in script.text:
        return f"{MAKE_LOCK} {shlex.quote(script.path.name)} -o {lock}"
    packages = " ".join(_PACKAGES.get(each, each) for each in modules)
    return f"echo {packages} | tr ' ' '\\n' | {MAKE_LOCK} -o {lock} -"


def _write_variables(page: Page, draft: Draft) -> None:
    if draft.hints.credentials:
        page.add(f"{_STEP}secrets:")
    for each in draft.hints.credentials:
        name = each.word.lower()
        evidence = f"line {each.line} reads it; runner secrets bind {name} --from env:{each.word}"
        page.add(f"{_STEP}  {each.word}: {{secret: {quoted(name)}, as: env}}", evidence)
    for each in draft.hints.settings:
        page.note(_STEP, f'env: {{{each.word}: "…"}}  line {each.line} reads {each.word}, which was not set')


def _write_limits(page: Page, seen: Seen) -> None:
    page.add(f"{_STEP}timeout: {sizes.seconds(seen.seconds)}", _time(seen))
    used, how = seen.usage, "at most" if seen.usage.peaks else "at most, by samples,"
    if used.memory is None and used.processes is None:
        page.note(_STEP, f"resources: {seen.engine} cannot tell here what was used: the defaults stand")
        return
    page.add(f"{_STEP}resources:")
    if used.memory is not None:
        words = f"used {how} {max(1, round(used.memory / sizes.MIB))} MiB"
        told = _ENDS["out-of-memory"] if seen.reason == "out-of-memory" else words
        page.add(f"{_STEP}  memory: {sizes.memory(used.memory)}", told)
    if used.processes is None:
        page.note(f"{_STEP}  ", f"pids: {seen.engine} cannot tell how many there were: the default stands")
        return
    told = f"used {how} {used.processes} processes and threads"
    over = f" of {PROCESSES}" if used.processes >= PROCESSES else ""
    page.add(f"{_STEP}  pids: {sizes.processes(used.processes)}", f"{told}{over}")


def _time(seen: Seen) -> str:
    if seen.reason == "timeout":
        return _ENDS["timeout"]
    return f"took {seen.seconds:.1f} s"
