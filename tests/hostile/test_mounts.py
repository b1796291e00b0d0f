"""A folder to be mounted is the author's, and somebody may be changing it meanwhile."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from runner.errors import WorkflowError
from runner.planning.snapshots import Snapshots, _descend
from runner.planning.tree import Caps, Hashing, Refused, Walk, open_at, open_folder

SECRET = "the host's own"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "app" / "deep").mkdir(parents=True)
    (tmp_path / "project" / "app" / "main.py").write_text("print(1)")
    (tmp_path / "outside").write_text(SECRET)
    return tmp_path / "project"


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "state" / "snapshots")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("app/link", "/etc/passwd"),
        ("app/link", "../../outside"),
        ("app/link", "../runner"),
        ("app/deep/link", "../../x"),
        ("app/link", "deep/../.."),
        ("app/link", "deep/./../../../outside"),
        ("app/link", "../app/main.py"),
    ],
)
def test_a_link_that_leads_out_is_refused_by_name(
    project: Path, snapshots: Snapshots, place: str, target: str
) -> None:
    (project / place).symlink_to(target)
    with pytest.raises(WorkflowError, match="leads out of the folder"):
        snapshots.take(project / "app", project)


def test_a_link_that_stays_inside_stays_a_link(project: Path, snapshots: Snapshots) -> None:
    (project / "app" / "deep" / "link").symlink_to("../main.py")
    _, path = snapshots.take(project / "app", project)
    assert (path / "deep" / "link").readlink() == Path("../main.py")


def test_a_source_outside_the_project_is_refused_plain_or_by_a_link(
    project: Path, snapshots: Snapshots
) -> None:
    (project / "way").symlink_to(project.parent)
    for source in (project / ".." / "outside", project / "way" / "outside", Path("/etc/passwd")):
        with pytest.raises(WorkflowError, match="outside the project"):
            snapshots.take(source, project)


@pytest.mark.parametrize("name", [".env", ".env.local", ".envrc", ".ENV", "runner.yaml", ".git"])
def test_secrets_history_and_settings_are_in_no_snapshot(
    project: Path, snapshots: Snapshots, name: str
) -> None:
    for folder in (project / "app", project / "app" / "deep"):
        (folder / name).write_text(SECRET)
    _, path = snapshots.take(project / "app", project)
    assert names(path) == {"main.py", "deep"}
    with pytest.raises(WorkflowError, match="never in a snapshot"):
        snapshots.take(project / "app" / name, project)


def test_a_folder_inside_the_history_cannot_be_mounted(project: Path, snapshots: Snapshots) -> None:
    (project / ".git" / "hooks").mkdir(parents=True)
    with pytest.raises(WorkflowError, match="never in a snapshot"):
        snapshots.take(project / ".git" / "hooks", project)


def test_the_state_folder_is_in_no_snapshot_even_inside_the_project(project: Path) -> None:
    inside = Snapshots(project / "state" / "snapshots")
    inside.folder.mkdir(parents=True)
    (project / "state" / "journal.db").write_text(SECRET)
    _, path = inside.take(project, project)
    assert not (path / "state").exists()
    assert (path / "app" / "main.py").exists()
    with pytest.raises(WorkflowError, match="state folder"):
        inside.take(project / "state", project)
    with pytest.raises(WorkflowError, match="state folder"):
        inside.take(project / "state" / "journal.db", project)


def test_a_pipe_or_a_socket_is_refused_without_waiting_for_its_other_end(
    project: Path, snapshots: Snapshots
) -> None:
    os.mkfifo(project / "app" / "pipe")
    with pytest.raises(WorkflowError, match="neither a file nor a folder"):
        snapshots.take(project / "app", project)
    with pytest.raises(WorkflowError, match="neither a file nor a folder"):
        snapshots.take(project / "app" / "pipe", project)
    (project / "app" / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(project / "app")
        server.bind("s")
        os.chdir(here)
        with pytest.raises(WorkflowError, match="neither a file nor a folder"):
            snapshots.take(project / "app", project)


def test_too_many_files_too_many_bytes_and_too_deep_a_tree_are_refused(project: Path, tmp_path: Path) -> None:
    def taken(caps: Caps) -> None:
        Snapshots(tmp_path / "s", caps=caps).take(project / "app", project)

    for number in range(50):
        (project / "app" / f"f{number}").write_bytes(b"x" * 10)
    (project / "app" / "deep" / "a" / "b").mkdir(parents=True)
    with pytest.raises(WorkflowError, match="more than 20 files"):
        taken(Caps(entries=20))
    with pytest.raises(WorkflowError, match="over the limit"):
        taken(Caps(size=100))
    with pytest.raises(WorkflowError, match="deeper than 1"):
        taken(Caps(depth=1))
    assert not list(tmp_path.glob("s/*"))
    taken(Caps())


def test_a_sparse_file_of_a_terabyte_is_refused_by_what_it_would_take(project: Path, tmp_path: Path) -> None:
    with (project / "app" / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(WorkflowError, match="over the limit"):
        Snapshots(tmp_path / "s", caps=Caps(size=8 << 20)).take(project / "app", project)


def test_names_with_newlines_bytes_and_quotes_are_kept_apart(project: Path, snapshots: Snapshots) -> None:
    for number, name in enumerate([b"a\nb", b"a", b"b\xff", b'"', b"-rf"]):
        Path(os.fsdecode(os.path.join(os.fsencode(project / "app"), name))).write_text(str(number))  # noqa: PTH118
    first, path = snapshots.take(project / "app", project)
    assert (path / "a\nb").read_text() == "0"
    assert len(names(path)) == 7
    (project / "app" / "a\nb").rename(project / "app" / "a\nc")
    assert snapshots.take(project / "app", project)[0] != first


def test_an_error_shows_no_control_characters_of_a_name(project: Path, snapshots: Snapshots) -> None:
    os.mkfifo(project / "app" / "x\x1b[2J\n")
    with pytest.raises(WorkflowError) as caught:
        snapshots.take(project / "app", project)
    assert "\x1b" not in str(caught.value)


def test_the_same_content_is_the_same_snapshot_and_other_content_another(
    project: Path, snapshots: Snapshots
) -> None:
    first, path = snapshots.take(project / "app", project)
    inode = path.stat().st_ino
    assert snapshots.take(project / "app", project) == (first, path)
    assert path.stat().st_ino == inode
    (project / "app" / "main.py").chmod(0o755)
    second, other = snapshots.take(project / "app", project)
    assert second != first
    assert (other / "main.py").stat().st_mode & 0o777 == 0o755
    assert other.stat().st_mode & 0o777 == 0o755


def test_a_snapshot_that_was_tampered_with_is_made_anew(project: Path, snapshots: Snapshots) -> None:
    digest, path = snapshots.take(project / "app", project)
    (path / "main.py").chmod(0o644)
    (path / "main.py").write_text("evil")
    (path / "main.py").chmod(0o644)
    assert not snapshots.holds(digest)
    assert snapshots.take(project / "app", project) == (digest, path)
    assert (path / "main.py").read_text() == "print(1)"
    assert {each.name for each in snapshots.folder.iterdir()} == {digest}


def test_a_single_file_is_a_snapshot_too(project: Path, snapshots: Snapshots) -> None:
    digest, path = snapshots.take(project / "app" / "main.py", project)
    assert path.read_text() == "print(1)"
    assert path.stat().st_mode & 0o777 == 0o644
    assert snapshots.holds(digest)


def test_a_missing_source_is_one_clear_error(project: Path, snapshots: Snapshots) -> None:
    with pytest.raises(WorkflowError, match="cannot be read: No such file"):
        snapshots.take(project / "nothing", project)


def test_an_entry_that_became_a_link_after_it_was_seen_is_not_followed(project: Path, tmp_path: Path) -> None:
    (project / "file").symlink_to(tmp_path / "outside")
    (project / "folder").symlink_to(tmp_path)
    root = open_folder(project)
    try:
        for name, folder in (("file", False), ("folder", True), ("folder", False)):
            with pytest.raises(Refused, match="changed while it was read"):
                os.close(open_at(root, name, folder=folder))
    finally:
        os.close(root)
    for parts in (("file",), ("folder",), ("folder", "outside")):
        with pytest.raises(Refused, match="changed while it was read"):
            os.close(_descend(project, parts))


class _Swapping(Hashing):
    """Turns the folder that is being walked into a link, at its first file."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder_path, self.target, self.seen = folder, target, set[str]()

    def file(self, path: str, source: int, room: int) -> tuple[str, int]:
        self.seen.add(path)
        if not self.folder_path.is_symlink():
            self.folder_path.rename(self.folder_path.with_name("aside"))
            self.folder_path.symlink_to(self.target)
        return super().file(path, source, room)


def test_a_folder_swapped_while_it_is_walked_is_walked_on_in_itself(project: Path, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    for name in ("a", "b"):
        (project / "app" / "deep" / name).write_text("harmless")
        (treasure / name).write_text(SECRET)
    root = open_folder(project / "app" / "deep")
    try:
        sink = _Swapping(project / "app" / "deep", treasure)
        rows = Walk(sink).run(root)
    finally:
        os.close(root)
    assert sink.seen == {"a", "b"}
    assert len({content for _, kind, _, content in rows if kind == "file"}) == 1


def test_swapping_a_file_for_a_link_never_leaks_what_lies_outside(project: Path, tmp_path: Path) -> None:
    victim, spare = project / "app" / "data", project / "app" / "spare"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            spare.write_text("harmless")
            spare.rename(victim)
            spare.symlink_to(tmp_path / "outside")
            spare.rename(victim)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(150):
            kept = Snapshots(tmp_path / "states" / str(number))
            try:
                _, path = kept.take(project / "app", project)
            except WorkflowError:
                continue
            assert all(SECRET not in each.read_text() for each in path.rglob("*") if each.is_file())
    finally:
        stop.set()
        swapper.join()


def test_swapping_a_folder_for_a_link_never_leaks_what_lies_outside(project: Path, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "main.py").write_text(SECRET)
    real, aside = project / "app" / "deep", project / "aside"
    (real / "main.py").write_text("harmless")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            real.rename(aside)
            real.symlink_to(treasure)
            real.unlink()
            aside.rename(real)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(150):
            source = project / "app" / "deep" if number % 2 else project / "app"
            try:
                _, path = Snapshots(tmp_path / "states" / str(number)).take(source, project)
            except WorkflowError:
                continue
            assert all(SECRET not in each.read_text() for each in path.rglob("*") if each.is_file())
    finally:
        stop.set()
        swapper.join()
