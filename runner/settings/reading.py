"""Reading a file of settings: YAML of a mapping, every key known and of its type; raises ``UsageError``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_FILE = 1 << 20


def read(path: Path) -> object:
    """Return what the YAML of a file says, None where there is no file."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_FILE:
        raise UsageError(f"{path}: is larger than 1 MiB")
    return _parse(path, data)


def _parse(path: Path, data: bytes) -> object:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(data.decode())
    except (YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from error


def number(path: Path, data: dict[str, Any], key: str, least: int, most: int) -> int:
    """Return the whole number under ``key``."""
    number = data[key]
    if type(number) is not int or not least <= number <= most:
        raise UsageError(f"{path}: {key} is a whole number from {least} to {most}")
    return number


def duration(path: Path, key: str, value: object) -> float:
    """Return a duration in seconds."""
    from runner.units import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise UsageError(f"{path}: {key}: {error}") from error


def mapping(path: Path, data: object, known: tuple[str, ...]) -> dict[str, Any]:
    """Return a mapping that has no key beside the ``known``; nothing at all is an empty one."""
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a mapping is expected, with the keys {', '.join(known)}")
    for key in data:
        if key not in known:
            raise UsageError(f"{path}: unknown key {str(key)[:64]!r} (known: {', '.join(known)})")
    return dict(data)
