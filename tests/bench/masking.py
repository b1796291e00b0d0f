"""Measure how fast output is masked and results are searched, with 50 secrets in all their forms.

Usage: ``python tests/bench/masking.py``. Prints MB/s over 256 MB of each kind; asserts nothing.
"""

from __future__ import annotations

import base64
import os
import secrets
import time
from typing import TYPE_CHECKING

from runner.vault.mask import Masker

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE, PIECES, SECRETS = 1 << 16, 4096, 50
LINE = b"2026-10-01T00:00:00Z INFO processed row %d of the table, ok\n"


def rate(act: Callable[[], object]) -> str:
    began = time.perf_counter()
    act()
    return f"{PIECE * PIECES / (time.perf_counter() - began) / 1e6:7.0f} MB/s"


def main() -> None:
    masker = Masker([secrets.token_urlsafe(32).encode() for _ in range(SECRETS)])
    kinds = {
        "log lines": (LINE * (PIECE // len(LINE) + 1))[:PIECE],
        "base64": base64.b64encode(os.urandom(PIECE))[:PIECE],
        "random": os.urandom(PIECE),
    }
    for kind, piece in kinds.items():
        stream = masker.fork()
        masked = rate(lambda piece=piece, stream=stream: [stream.feed(piece) for _ in range(PIECES)])
        searched = rate(lambda piece=piece: masker.find(piece for _ in range(PIECES)))
        print(f"{kind:10} masked {masked}   searched {searched}")


if __name__ == "__main__":
    main()
