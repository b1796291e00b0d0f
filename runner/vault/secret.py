"""A secret's value, hidden from everything that prints, compares, copies or saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.vault.binding import Terms


class Secret:
    """A name and a hidden value; only ``reveal`` gives the bytes away.

    ``terms`` say how it may be used where the step never sees it.
    """

    __slots__ = ("__found", "__masked", "__value", "name", "terms")

    def __init__(
        self,
        name: str,
        value: bytes,
        others: Iterable[bytes] = (),
        public: Iterable[bytes] = (),
        terms: Terms | None = None,
    ) -> None:
        """Hide ``value`` with what else came from its source; ``public`` is no secret alone."""
        self.name, self.terms = name, terms
        self.__value = bytes(value)
        self.__found = tuple(dict.fromkeys((self.__value, *others)))
        self.__masked = tuple(dict.fromkeys((*self.__found, *public)))

    def reveal(self) -> bytes:
        """Return the value."""
        return self.__value

    def to_mask(self) -> tuple[bytes, ...]:
        """Return every value that no output may show."""
        return self.__masked

    def to_find(self) -> tuple[bytes, ...]:
        """Return every value that no result may hold."""
        return self.__found

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
