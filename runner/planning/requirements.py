"""Where Python packages of a lock file can go: a sandbox profile with Python, and a folder that is theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sandbox.packages import TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.planning.plan import ImageRef
    from runner.workflow.model import Mount


def equipped(
    ref: ImageRef, lock: str, mounts: Iterable[Mount], contents: Callable[[str], tuple[str, ...]]
) -> ImageRef:
    """Return the image with the packages of the snapshot ``lock``; raises ``ValueError`` in plain words.

    ``contents`` gives the Debian packages of a sandbox profile by its name.
    """
    if ref.kind != "profile":
        raise ValueError(f"requirements needs a sandbox profile with Python, and {ref.name} is an image")
    if "python3" not in contents(ref.name):
        raise ValueError(f"requirements needs Python, which the sandbox {ref.name} has not: sandbox: python")
    for mount in mounts:
        target = mount.target.rstrip("/")
        if f"{TARGET}/".startswith(f"{target}/") or target.startswith(f"{TARGET}/"):
            raise ValueError(f"the mount on {target} would cover {TARGET}, where the packages are")
    return replace(ref, lock=lock)
