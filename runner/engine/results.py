"""What an attempt left, as it is kept: nothing that holds a secret of the run, in any form of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from runner.engine.outputs import OUTPUT_FILE, read_outputs
from runner.errors import StoreError
from runner.events import ArtifactKept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runner.engine.ports import ArtifactsPort, MaskerPort, SecretPort
    from runner.sandbox.base import Collected

_PIECE = 1 << 20


class Leaks:
    """Looks for the secrets that a run has opened by now; files may be larger than memory."""

    def __init__(self, opened: Sequence[SecretPort], masker: Callable[[Sequence[bytes]], MaskerPort]) -> None:
        """Look for nothing where nothing was opened."""
        self._opened, self._masker = opened, masker

    @cached_property
    def _all(self) -> MaskerPort | None:
        values = dict.fromkeys(value for secret in self._opened for value in secret.to_find())
        return self._masker(list(values)) if values else None

    def in_text(self, text: str) -> str:
        """Return the name of a secret that stands in ``text``, or nothing."""
        return self._found(iter([text.encode(errors="surrogateescape")]))

    def in_file(self, path: Path) -> str:
        """Return the name of a secret that stands in a file, or nothing."""
        return self._found(_pieces(path)) if self._all else ""

    def _found(self, pieces: Iterator[bytes]) -> str:
        hit = self._all.find(pieces) if self._all else b""
        if not hit:
            return ""
        own = (one.name for one in self._opened if self._masker(one.to_find()).find(iter([hit])))
        return next(own, "of the run")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


@dataclass(slots=True)
class Results:
    """The results of one attempt: ``refused`` was not taken, ``leaked`` the first with a secret."""

    masker: MaskerPort
    leaks: Leaks
    artifacts: ArtifactsPort
    set_apart: Callable[[Path], str]
    outputs: dict[str, str] = field(default_factory=dict)
    kept: list[ArtifactKept] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    leaked: str = ""

    def take(self, file: Collected) -> None:
        """Keep a file, or the values that it sets; one with a secret is sealed and handed on to nobody."""
        name = "$RUNNER_OUTPUT" if file.name == OUTPUT_FILE else self.masker.mask_text(file.name)
        if secret := self.leaks.in_text(file.name) or self.leaks.in_file(file.path):
            line = f"{name}: holds the secret {secret}, and {self._sealed(file.path)}"
            self.refused.append(line)
            self.leaked = self.leaked or line
        elif file.name == OUTPUT_FILE:
            values, bad = read_outputs(file.path, self._mask)
            self.outputs.update(values)
            self.refused += bad
        else:
            self.kept.append(ArtifactKept(name, *self.artifacts.keep(file.path)))

    def _sealed(self, path: Path) -> str:
        """Seal a result and say where; one that cannot be sealed goes with the attempt's folder."""
        try:
            return f"is sealed in {self.set_apart(path)}"
        except StoreError as error:  # no reason to end the run here: a salvage would keep the file in clear
            return f"was not kept, since it cannot be sealed: {error.message}"

    def _mask(self, data: bytes) -> bytes:
        stream = self.masker.fork()
        return stream.feed(data) + stream.flush()
