"""The ``/etc/hosts`` of a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.sandbox.base import Outlet

HOSTS = "/etc/hosts"


def hosts(outlets: Iterable[Outlet]) -> str:
    """Return what it holds: the loopback, and the names that outlets stand for."""
    named = (f"{one.address} {one.host}\n" for one in outlets if one.host)
    return "".join(("127.0.0.1 localhost\n", "::1 localhost\n", *named))
