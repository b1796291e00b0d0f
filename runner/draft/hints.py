"""What a script's text says of it: words to check the evidence by, never evidence themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runner.workflow.hosts import canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.draft.script import Script

_URL = re.compile(r"https?://([A-Za-z0-9.-]{1,253})")
_CREDENTIAL = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|AUTH(?!OR)")
_OURS = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "PWD", "OLDPWD", "USER", "LANG", "SHELL", "HOSTNAME", "IFS", "RANDOM"),
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"),
    }
)
_ELSEWHERE = ("/app/", "/in/", "/out/", "/work/", "/dev/", "/proc/", "/usr/", "/bin/")
_MOST = 20


@dataclass(frozen=True, slots=True)
class Place:
    """A word of the script and the line that it stands in."""

    word: str
    line: int


@dataclass(frozen=True, slots=True)
class Hints:
    """What the text names: environment variables, modules from elsewhere, calls that read or write over HTTP.

    ``strings`` are its literal texts; ``direct`` names what opens connections past the proxy's variables.
    """

    variables: tuple[Place, ...] = ()
    modules: tuple[Place, ...] = ()
    reading: tuple[Place, ...] = ()
    writing: tuple[Place, ...] = ()
    direct: tuple[Place, ...] = ()
    strings: tuple[str, ...] = ()

    @property
    def credentials(self) -> tuple[Place, ...]:
        """The variables that look like credentials."""
        return tuple(each for each in self.variables if _CREDENTIAL.search(each.word.upper()))

    @property
    def settings(self) -> tuple[Place, ...]:
        """The other variables."""
        return tuple(each for each in self.variables if each not in self.credentials)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of the URLs in the text."""
        return tuple(sorted({host for text in self.strings for host in _hosts(text)}))[:_MOST]

    def host_paths(self, folder: Path) -> tuple[str, ...]:
        """Return the texts that are files or folders of this machine outside ``folder``."""
        paths = {
            text for text in self.strings if text.startswith("/") and not f"{text}/".startswith(_ELSEWHERE)
        }
        return tuple(sorted(path for path in paths if _is_outside(path, folder)))[:_MOST]


def named(strings: Iterable[str], files: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that are files, or folders of files, among ``files``."""
    there = {each for path in files for each in (path, *map(str, PurePosixPath(path).parents))} - {"."}
    return tuple(sorted({str(PurePosixPath(text)) for text in strings if text} & there))[:_MOST]


def hints(script: Script, files: Iterable[str]) -> Hints:
    """Return what a script's text says; ``files`` are the paths in its folder."""
    if script.is_python:
        from runner.draft.python_hints import python_hints

        return python_hints(script.text, own_modules(files))
    from runner.draft.shell_hints import shell_hints

    return shell_hints(script.text)


def own_modules(files: Iterable[str]) -> frozenset[str]:
    """Return the modules that a folder with these files has itself."""
    return frozenset(path.split("/")[0].removesuffix(".py") for path in files)


def places(found: Iterable[tuple[str, int]], without: frozenset[str] = frozenset()) -> tuple[Place, ...]:
    """Return each word once, where it stands first."""
    first: dict[str, int] = {}
    for word, line in found:
        if word not in without:
            first[word] = min(line, first.get(word, line))
    return tuple(Place(word, first[word]) for word in sorted(first))[:_MOST]


def variables(found: Iterable[tuple[str, int]]) -> tuple[Place, ...]:
    """Return the variables among words: names that are not Runner's or the shell's own."""
    names = ((word, line) for word, line in found if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", word))
    return places(((word, line) for word, line in names if not word.startswith("RUNNER_")), _OURS)


def _hosts(text: str) -> set[str]:
    found = set()
    for host in _URL.findall(text):
        try:
            found.add(canonical_host(host))
        except ValueError:
            continue
    return found


def _is_outside(text: str, folder: Path) -> bool:
    path = Path(text)
    try:
        return len(path.parts) > 2 and path.exists() and not path.resolve().is_relative_to(folder.resolve())  # noqa: PLR2004
    except (OSError, ValueError):
        return False
