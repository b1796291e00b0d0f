"""Where Python packages come from: the operator's index (PEP 503), by HTTPS alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INDEX_KEYS = ("index", "files", "max_bytes")
_ADDRESS = re.compile(r"https://[^\s@?#%/]+(/[^\s@?#%]*)?")


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """An index at ``address``; ``files`` are other hosts that it sends to for the packages themselves.

    ``most`` is how many bytes the packages of one lock file may take.
    """

    address: str = "https://pypi.org/simple"
    files: tuple[str, ...] = ("https://files.pythonhosted.org",)
    most: int = 2 << 30


def read_index(path: Path, given: Mapping[str, Any]) -> PackageIndex:
    """Return what the policy at ``path`` says under ``python``; raises ``UsageError``."""
    from runner.units import parse_size

    usual = PackageIndex()
    address = given.get("index", usual.address)
    files = given.get("files", [] if "index" in given else list(usual.files))
    listed = [address, *files] if isinstance(files, list) else [None]
    if not all(isinstance(each, str) and _ADDRESS.fullmatch(each) for each in listed):
        raise UsageError(
            f"{path}: python.index and python.files are addresses such as https://pypi.org/simple"
        )
    try:
        most = parse_size(given["max_bytes"]) if "max_bytes" in given else usual.most
    except ValueError as error:
        raise UsageError(f"{path}: python.max_bytes: {error}") from error
    return PackageIndex(address, tuple(files), most)
