"""Where things are, and what policy and project say."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.index import PackageIndex
from runner.settings import Choices, Settings, choices


def settings_in(folder: Path, policy: str | None = None) -> Settings:
    if policy is not None:
        (folder / "policy.yaml").write_text(policy)
    return Settings.from_environment({"HOME": str(folder), "RUNNER_POLICY": str(folder / "policy.yaml")})


def test_the_state_folder_is_the_users_unless_runner_home_says_otherwise() -> None:
    plain = Settings.from_environment({"HOME": "/home/u"})
    assert plain.home == Path("/home/u/.local/state/runner")
    assert plain.cache == Path("/home/u/.cache/runner")
    assert plain.config == Path("/home/u/.config/runner")
    assert Settings.from_environment({"HOME": "/h", "RUNNER_HOME": "/s"}).home == Path("/s")


def test_xdg_folders_count_when_they_are_absolute_and_are_ignored_otherwise() -> None:
    given = {"HOME": "/h", "XDG_STATE_HOME": "/x/state", "XDG_CACHE_HOME": "relative"}
    found = Settings.from_environment(given)
    assert found.home == Path("/x/state/runner")
    assert found.cache == Path("/h/.cache/runner")


def test_without_any_file_the_choices_are_the_defaults(tmp_path: Path) -> None:
    assert choices(settings_in(tmp_path), tmp_path) == Choices("auto", 4)


def test_a_project_lowers_the_policys_number_and_never_raises_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, "max_parallel: 3\n")
    (tmp_path / "runner.yaml").write_text("max_parallel: 8\n")
    assert choices(settings, tmp_path).parallel == 3
    (tmp_path / "runner.yaml").write_text("max_parallel: 2\n")
    assert choices(settings, tmp_path).parallel == 2


def test_a_project_may_choose_an_engine_only_where_the_policy_leaves_it_open(tmp_path: Path) -> None:
    (tmp_path / "runner.yaml").write_text("defaults: {engine: bubblewrap}\n")
    assert choices(settings_in(tmp_path, "defaults: {engine: auto}\n"), tmp_path).engine == "bubblewrap"
    with pytest.raises(UsageError, match="operator's policy says docker"):
        choices(settings_in(tmp_path, "defaults: {engine: docker}\n"), tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("enginee: docker\n", "unknown key 'enginee'"),
        ("defaults: {engin: docker}\n", "unknown key 'engin'"),
        ("defaults: {engine: podman}\n", "defaults.engine is one of"),
        ("max_parallel: true\n", "whole number"),
        ("max_parallel: 0\n", "whole number"),
        ("- a\n", "a mapping is expected"),
        ("python: {indx: x}\n", "unknown key 'indx'"),
        ("python: {index: 'http://pypi.internal/simple'}\n", "are addresses such as https://"),
        ("python: {index: 'https://user:word@pypi.internal/simple'}\n", "are addresses such as https://"),
        ("python: {files: 'https://files.internal'}\n", "are addresses such as https://"),
        ("python: {max_bytes: lots}\n", "python.max_bytes"),
        ("egress: {ca: runner.yaml}\n", "egress.ca is no absolute path"),
        ("a: [\n", "is not YAML"),
        ("max_parallel: 1\nmax_parallel: 2\n", "is not YAML"),
        ("[" * 20_000, "is not YAML"),
    ],
)
def test_a_wrong_policy_file_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "runner.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)  # as an author's folder, whose files are no word of the operator
    with pytest.raises(UsageError, match=words) as caught:
        choices(settings_in(tmp_path, text))
    assert "policy.yaml" in str(caught.value)


def test_packages_come_from_the_public_index_unless_the_policy_names_another(tmp_path: Path) -> None:
    usual = choices(settings_in(tmp_path)).index
    assert (usual.address, usual.files) == ("https://pypi.org/simple", ("https://files.pythonhosted.org",))
    own = "python: {index: 'https://pypi.internal:8443/simple', max_bytes: 1GiB}\n"
    assert choices(settings_in(tmp_path, own)).index == PackageIndex(
        "https://pypi.internal:8443/simple", (), 1 << 30
    )


def test_a_project_cannot_say_where_packages_come_from(tmp_path: Path) -> None:
    (tmp_path / "runner.yaml").write_text("python: {index: 'https://evil.example/simple'}\n")
    with pytest.raises(UsageError, match="python is the operator's alone to say"):
        choices(settings_in(tmp_path), tmp_path)
