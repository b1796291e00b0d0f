"""Literals that look like secrets, in a workflow and the files that it mounts: a warning, never the value.

detect-secrets knows what tokens look like; a quick look at each line decides whether it is asked, and what it
finds counts only where it is no name, no variable and no placeholder.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.workflow.load import LoadedWorkflow

MOST_PROBLEMS = 20
_SECONDS = 2.0
_LARGEST = 256 << 10
_MOST_FILES = 200
_LONGEST_LINE = 500  # what detect-secrets takes for a line grows with the square of it
_CANDIDATE = re.compile(
    rb"(?i)api.?key|auth|pass|pwd|secret|token|priv|credential|account.?key|://[^/\s:@]+:[^/\s@]+@"
    rb"|A(KIA|SIA|GPA|3T|IDA|ROA)|gh[opusr]_|glpat-|xox|hooks\.slack|[sr]k_live|SG\.|npm_|_auth|pypi-|sk-|AKC|eyJ"
    rb"|-----BEGIN|sq0|[0-9]{8,}:[\w-]{35}|AC[a-z0-9]{32}|SK[a-z0-9]{32}"
)
_PLACEHOLDER = re.compile(
    r"(?i)example|change.?me|placeholder|your|dummy|redacted|xxxx|\*\*\*|[$(){}<>\[\]\s]|^[/.~]"
)
_DETECTORS = {
    "artifactory": "ArtifactoryDetector",
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
    "keyword": "KeywordDetector",
}
_KEYWORD = "Secret Keyword"
_LEAST = 8
_WORD = re.compile(r"[,\s]")
_ENDS = "}],;\"'"
_CURE = "take it out and end it where it was issued; name it under secrets:, and the operator sets its value"


def literals(loaded: LoadedWorkflow) -> list[Problem]:
    """Return a warning for each line with such a literal, at most 20; looks for 2 seconds at most."""
    look = _Look(loaded.model.secrets, time.monotonic() + _SECONDS)
    found = (problem for path in _files(loaded) for problem in look.into(path))
    return list(islice(found, MOST_PROBLEMS))


@dataclass
class _Look:
    """A look at files that ends at an instant of the monotonic clock; ``names`` are no values."""

    names: tuple[str, ...]
    until: float

    def into(self, path: Path) -> Iterator[Problem]:
        for number, raw in enumerate(_text(path).split(b"\n"), 1):
            if _CANDIDATE.search(raw[:_LONGEST_LINE]):
                if time.monotonic() > self.until:
                    return
                line = raw[:_LONGEST_LINE].decode(errors="replace")
                if kind := self.kind(path, line):
                    words = f"this looks like a secret ({kind})"
                    yield Problem(str(path), number, 1, words, _CURE, "warning")

    def kind(self, path: Path, line: str) -> str:
        """Return what kind of secret stands in a line, or nothing."""
        told = path.name if path.suffix == ".py" else "text.yaml"  # in code a literal has quotes
        parts = (line, *(word for word in line.split() if "=" in word))  # the shell's NAME=VALUE
        for detector, part in ((detector, part) for detector in self.detectors for part in parts):
            for hit in detector.analyze_line(filename=told, line=part, line_number=1):
                value = _WORD.split(hit.secret_value or "")[0].rstrip(_ENDS)
                if value not in self.names and _is_literal(str(hit.type), value):
                    return str(hit.type)
        return ""

    @cached_property
    def detectors(self) -> list[Any]:
        """detect-secrets' rules that know a token by its shape or the name beside it: slow to import."""
        return [
            getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
            for module, name in _DETECTORS.items()
        ]


def _text(path: Path) -> bytes:
    """Return the content of a file that is text and not too large, else nothing."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError:
        return b""
    return b"" if len(data) > _LARGEST or b"\0" in data else data


def _is_literal(kind: str, value: str) -> bool:
    if kind == "Private Key":
        return True
    if _PLACEHOLDER.search(value):
        return False
    if kind != _KEYWORD:
        return True
    has_both = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return len(value) >= _LEAST and has_both


def _files(loaded: LoadedWorkflow) -> Iterator[Path]:
    """Yield the workflow and the files under its mounts, each once, links not followed."""
    yield loaded.path
    folder = loaded.path.parent
    steps = (*loaded.model.steps.values(), *loaded.model.finally_steps.values())
    commands = [each for step in steps for each in (step, step.compensate, step.probe) if each]
    mounts = [*loaded.model.defaults.mounts, *(mount for each in commands for mount in each.mounts or ())]
    sources = dict.fromkeys(folder / mount.source for mount in mounts)
    yield from islice((file for source in sources for file in _under(source)), _MOST_FILES)


def _under(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
    for where, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = (Path(where) / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file() and not file.is_symlink())
