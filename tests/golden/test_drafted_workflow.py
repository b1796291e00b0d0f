"""A drafted workflow, byte for byte: change the file on purpose only."""

from __future__ import annotations

from pathlib import Path

from runner.draft.compose import Draft, compose
from runner.draft.compose_files import Files
from runner.draft.compose_network import Network
from runner.draft.folder import Folder
from runner.draft.hints import hints, own_modules
from runner.draft.script import read_script
from runner.draft.seen import Asked, Seen
from runner.sandbox.base import Usage
from runner.workflow.hosts import parse_rule
from runner.workflow.load import load

HERE = Path(__file__).resolve().parent
TEXT = """\
import csv
import os
import requests
from helper import total
rows = csv.DictReader(open("data/rows.csv"))
key = os.environ["API_KEY"]
requests.get("https://api.example.com/rates", headers={"Authorization": key})
requests.post("http://db.internal:8080/load", json=total(rows))
"""
FILES = ("data/more.csv", "data/rows.csv", "fetch.py", "helper.py")
ASKED = (
    Asked("api.example.com", 443, frozenset({"CONNECT"}), 2, '"https://api.example.com"', ""),
    Asked("db.internal", 8080, frozenset({"POST"}), 1, "", "no rule allows db.internal:8080"),
)
SEEN = Seen(
    run="20260101-000000-aaaaaa",
    engine="bubblewrap",
    exit_code=1,
    reason="exit",
    detail="exit status 1",
    seconds=21.4,
    usage=Usage(210 << 20, 23),
    asked=ASKED,
    unnamed=2,
    read=frozenset({"fetch.py", "helper.py", "data/rows.csv"}),
    made=("rates.json", "table.csv"),
    left=(".cache/x", "notes.txt"),
    not_taken=("link: is a symbolic link",),
    missing=("requests",),
    looked_up=True,
)


def drafted(folder: Path, text: str = TEXT) -> str:
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text if name == "fetch.py" else "")
    script = read_script(folder / "fetch.py", ["--day", "last monday"])
    copy = Folder(folder, "sha256", FILES, {}, (".venv",))
    found = hints(script, FILES)
    files = Files(
        script, SEEN, copy, ".", own_modules(FILES), ("/srv/prices.csv",), ("data/more.csv", "data")
    )
    network = Network(SEEN, found, (parse_rule("https://api.example.com"),))
    return compose(Draft(script, SEEN, found, files, network))


def test_a_drafted_workflow_is_what_it_was(tmp_path: Path) -> None:
    assert drafted(tmp_path) == (HERE / "drafted_workflow.yaml").read_text()


def test_the_golden_workflow_is_valid_and_says_what_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "fetch.yaml"
    path.write_text(drafted(tmp_path))
    model = load(path).model
    step = model.steps["fetch"]
    assert [mount.source for mount in step.mounts or ()] == ["./data/rows.csv", "./fetch.py", "./helper.py"]
    assert [reach.host for reach in step.reaches] == ["https://api.example.com", "http://db.internal:8080"]
    assert (step.outside, step.timeout, step.resources.pids) == ("write", 50.0, 48)
    assert [reach.host for reach in model.staging.egress] == ["https://api.example.com"]
    assert step.secrets is not None
    assert step.secrets["API_KEY"].form == "env"


def test_a_lock_file_is_made_of_the_script_s_own_block(tmp_path: Path) -> None:
    text = drafted(tmp_path, f"# /// script\n# dependencies = []\n# ///\n{TEXT}")
    assert ":all: fetch.py -o fetch.py.txt\n" in text
    assert "echo" not in text
