"""The two digests: what is promoted (definition) and what runs (plan).

Both are SHA-256 in hex over canonical JSON: sorted keys, no spaces, ASCII.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from runner import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.workflow.model import Workflow


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the one JSON text of a value; raises ``ValueError`` for what is not JSON (NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def definition_digest(
    model: Workflow,
    snapshots: Mapping[str, str],
    images: tuple[str, ...],
    rules: tuple[str, Mapping[str, Any]],
) -> str:
    """Return the digest of what was written and allowed: the same for every mode and all inputs.

    ``snapshots`` maps the sources as written to the digests of their contents; ``images`` are names;
    ``rules`` are the policy's digest and the breakers that steps name.
    """
    policy, breakers = rules
    return digest_of(
        {
            "workflow": model.model_dump(mode="json"),
            "snapshots": dict(snapshots),
            "images": sorted(images),
            "policy": policy,
            "breakers": dict(breakers),
            "runner": __version__,
        }
    )


def plan_digest(definition: str, mode: str, inputs: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """Return the digest of what a run is: ``data`` maps datasets to the digests of their contents."""
    return digest_of({"definition": definition, "mode": mode, "inputs": dict(inputs), "data": dict(data)})
