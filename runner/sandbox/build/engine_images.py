"""Looking at the images of a Docker Engine. Raises ``EngineUnavailable`` when nothing answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runner.errors import SandboxError
from runner.sandbox.docker.api import EngineApi, engine_address

if TYPE_CHECKING:
    from runner.sandbox.build.record import BuiltProfile

_OK = 200
_NOT_FOUND = 404


def inspect(reference: str) -> dict[str, Any] | None:
    """Return what the engine says about an image, or None when it has none of that name or ID."""
    answer = EngineApi(engine_address(os.environ)).ask("GET", f"/images/{quote(reference, safe=':@/')}/json")
    if answer.status == _NOT_FOUND:
        return None
    if answer.status != _OK:
        raise SandboxError(f"the Docker Engine cannot show image {reference}: {answer.message}")
    found: dict[str, Any] = answer.body
    return found


def profile_id(built: BuiltProfile) -> str | None:
    """Return the engine's ID of a built profile if it holds exactly that layer, else None."""
    for reference in (built.digest, built.tag):
        found = inspect(reference)
        if found and found.get("RootFS", {}).get("Layers") == [f"sha256:{built.layer}"]:
            return str(found["Id"])
    return None
