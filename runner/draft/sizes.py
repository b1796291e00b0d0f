"""Limits from what was measured: doubled, rounded up to what a person would write, and never tight."""

from __future__ import annotations

import math

MIB = 1 << 20
LEAST_MEMORY = 128 * MIB
LEAST_PROCESSES = 16
LEAST_SECONDS = 30
_STEPS = ((512 * MIB, 64 * MIB), (2048 * MIB, 256 * MIB))
_LARGE = 1024 * MIB
_MINUTE, _HOUR = 60, 3600


def memory(peak: int) -> str:
    """Return the limit for a peak in bytes."""
    wanted = max(2 * peak, LEAST_MEMORY)
    step = next((size for most, size in _STEPS if wanted <= most), _LARGE)
    return f"{math.ceil(wanted / step) * step // MIB}MiB"


def processes(peak: int) -> int:
    """Return the limit for a peak of processes."""
    return max(math.ceil(2 * peak / 8) * 8, LEAST_PROCESSES)


def seconds(took: float) -> str:
    """Return the timeout for a run of so many seconds."""
    wanted = max(2 * took, LEAST_SECONDS)
    if wanted <= 5 * _MINUTE:
        return f"{math.ceil(wanted / 10) * 10}s"
    if wanted <= 2 * _HOUR:
        return f"{math.ceil(wanted / _MINUTE)}m"
    return f"{math.ceil(wanted / _HOUR)}h"
