"""A secret's value, hidden from everything that prints, compares, copies or saves."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """A name and a hidden value; only ``reveal`` gives the bytes away."""

    __slots__ = ("__value", "name")

    def __init__(self, name: str, value: bytes) -> None:
        """Hide ``value`` under ``name``."""
        self.name = name
        self.__value = bytes(value)

    def reveal(self) -> bytes:
        """Return the value."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, hidden)"

    def __format__(self, spec: str, /) -> str:
        return format(repr(self), spec)

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret cannot be saved or copied")

    def __reduce_ex__(self, protocol: object, /) -> NoReturn:
        raise TypeError("a secret cannot be saved or copied")


def without_newline(value: bytes) -> bytes:
    """Return a one-line value without its line end; several lines (a PEM key) stay as they are."""
    line = value.removesuffix(b"\n").removesuffix(b"\r")
    return line if b"\n" not in line else value
