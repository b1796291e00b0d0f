"""What holds for every plan, every matrix and every link."""

from __future__ import annotations

import json
import os
import string
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.planning.codec import plan_from_json, plan_json
from runner.planning.digests import canonical
from runner.planning.matrix import label
from runner.planning.order import in_order
from runner.planning.plan import ImageRef, Input, Plan, PlannedStep, Retry, SecretUse
from runner.planning.snapshots import Snapshots
from runner.planning.tree import stays_inside
from runner.sandbox.base import Limits, Mount

TEXT = st.text(max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
SIZE = st.integers(0, 2**50)
LIMITS = st.builds(
    Limits,
    **{name: SIZE for name in Limits.__slots__ if name != "cpus"},
    cpus=st.floats(0.1, 64),
)
MOUNT = st.builds(Mount, st.from_regex(r"/[a-z]{1,8}", fullmatch=True).map(Path), TEXT, TEXT)
RETRY = st.builds(
    Retry, on=st.lists(st.sampled_from(["timeout", "infra", "exit", 75]), max_size=3).map(tuple)
)


@st.composite
def planned(draw: st.DrawFn) -> PlannedStep:
    return PlannedStep(
        id=draw(TEXT),
        step=draw(TEXT),
        needs=draw(NAMES),
        image=draw(st.builds(ImageRef, st.sampled_from(["profile", "reference"]), TEXT)),
        argv=draw(NAMES),
        env=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        condition=draw(TEXT),
        mounts=draw(st.lists(MOUNT, max_size=2).map(tuple)),
        limits=draw(LIMITS),
        inputs=draw(st.lists(st.builds(Input, TEXT, TEXT, TEXT), max_size=2).map(tuple)),
        outputs=draw(NAMES),
        secrets=draw(st.lists(st.builds(SecretUse, TEXT, TEXT, st.booleans()), max_size=2).map(tuple)),
        timeout=draw(st.floats(0, 1e7)),
        grace=draw(st.floats(0, 1e7)),
        retry=draw(RETRY),
        effects=draw(st.sampled_from(["none", "read", "write"])),
        matrix=draw(st.dictionaries(TEXT, TEXT | st.booleans() | NUMBER, max_size=2)),
        shadowed=draw(st.booleans()),
        shadow_files=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        final=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(planned(), max_size=3), st.dictionaries(TEXT, JSON, max_size=3), NAMES)
def test_a_plan_written_as_json_and_read_back_is_the_same_plan(
    steps: list[PlannedStep], inputs: dict[str, Any], warnings: tuple[str, ...]
) -> None:
    plan = Plan("w", "f", "staging", "d", "p", "o", "r", inputs, {s.id: s for s in steps}, warnings)
    assert plan_from_json(json.loads(json.dumps(plan_json(plan)))) == plan


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_canonical_json_says_the_same_whatever_the_order_of_keys(value: Any) -> None:
    def turned(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: turned(each[key]) for key in reversed(list(each))}
        return [turned(item) for item in each] if isinstance(each, list) else each

    assert canonical(turned(value)) == canonical(value)
    assert json.loads(canonical(value)) == value


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("ab"), TEXT, min_size=1), min_size=2, max_size=2))
def test_different_values_give_different_and_printable_leg_names(legs: list[dict[str, str]]) -> None:
    one, other = ({key: leg[key] for key in sorted(leg)} for leg in legs)
    assert (label(one) == label(other)) == (one == other)
    assert label(one).isprintable()
    assert "/" not in label(one)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.data())
def test_every_need_comes_first_in_the_order_of_any_acyclic_graph(count: int, data: st.DataObject) -> None:
    sample = data.draw(planned())
    rank = data.draw(st.permutations(range(count)))
    steps: dict[str, PlannedStep] = {}
    for place in range(count):
        lower = [f"s{other}" for other in range(count) if rank[other] < rank[place]]
        needs = tuple(data.draw(st.lists(st.sampled_from(lower), max_size=3, unique=True))) if lower else ()
        values = {name: getattr(sample, name) for name in PlannedStep.__slots__}
        steps[f"s{place}"] = PlannedStep(**{**values, "id": f"s{place}", "needs": needs, "final": False})
    seen: set[str] = set()
    for name, step in in_order(steps, "f").items():
        assert seen.issuperset(step.needs)
        seen.add(name)
    assert seen == set(steps)


PART = st.sampled_from(["..", ".", "a", "b", ""])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=4), st.lists(PART, min_size=1, max_size=6))
def test_a_link_that_is_accepted_ends_inside(path: list[str], target: list[str]) -> None:
    text = "/".join(target)
    if stays_inside("/".join(path), text):
        end = os.path.normpath(str(PurePosixPath("/root", *path[:-1]) / text))
        assert end == "/root" or end.startswith("/root/")


NAME = st.text(string.ascii_letters + "\n\t \\'\"é", min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAME, st.binary(max_size=40), max_size=5))
def test_a_snapshot_holds_exactly_what_was_there(files: dict[str, bytes]) -> None:
    with TemporaryDirectory() as folder:
        source = Path(folder, "project", "tree")
        source.mkdir(parents=True)
        for name, content in files.items():
            (source / name).write_bytes(content)
        digest, path = Snapshots(Path(folder, "state", "snapshots")).take(source, source.parent)
        assert {each.name: each.read_bytes() for each in path.iterdir()} == files
        assert path.name == digest
        assert all(each.stat().st_mode & 0o777 == 0o644 for each in path.iterdir())
        path.chmod(0o755)
