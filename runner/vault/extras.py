"""Packages that only some sources of secrets need."""

from __future__ import annotations

import importlib

from runner.errors import PolicyDenied


def need(extra: str, *modules: str) -> None:
    """Import the modules of an extra; raises ``PolicyDenied`` that says what to install."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            missing = (error.name or module).partition(".")[0]
            raise PolicyDenied(
                f"{extra} needs the package {missing}, which is not installed",
                cure=f"pip install 'runner[{extra}]'",
            ) from None
