"""The operator's own secrets: age-encrypted files, one a version, readable by one identity.

``CONFIG/identity.age`` holds the identity; ``HOME/secrets/NAME/MODE.N.age`` the values, N from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import StoreError, UsageError
from runner.vault.files import own_folder, read_private, storing, write_new

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_VERSION = re.compile(r"([a-z]{1,32})\.([1-9][0-9]{0,8})\.age")
_CREATED = 100


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One value in the store, by its newest ``version``."""

    name: str
    mode: str
    version: int


def checked_name(name: str) -> str:
    """Return ``name``; raises ``UsageError`` when it is no secret's name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a secret's name",
            cure="letters, digits, - and _, up to 64, beginning with a letter",
        )
    return name


def checked_mode(mode: str) -> str:
    """Return ``mode``; raises ``UsageError`` when there is no such mode."""
    if mode not in ("staging", "production"):
        raise UsageError(f"{mode!r} is not a mode", cure="staging or production")
    return mode


class SecretStore:
    """Values by name and mode; every ``set`` makes a new version and keeps the old ones."""

    def __init__(self, home: Path, config: Path) -> None:
        """Keep values under ``home`` (the state folder) and the identity in ``config``."""
        self._folder = home / "secrets"
        self._identity_file = config / "identity.age"

    def set(self, name: str, value: bytes, mode: str = "staging") -> int:
        """Keep a value and return its version; raises ``StoreError`` when it cannot be kept."""
        checked_name(name)
        checked_mode(mode)
        import pyrage

        sealed = pyrage.encrypt(value, [self._identity().to_public()])
        own_folder(self._folder)
        folder = own_folder(self._folder / name)
        for version in range(self._newest(name, mode) + 1, self._newest(name, mode) + _CREATED):
            try:
                write_new(folder / f"{mode}.{version}.age", sealed)
            except FileExistsError:
                continue
            return version
        raise StoreError(f"secret {name} is being set by too many at once", cure="try again")

    def get(self, name: str, mode: str = "staging") -> bytes | None:
        """Return the newest value, or None when there is none; raises ``StoreError`` when unreadable."""
        version = self._newest(checked_name(name), checked_mode(mode))
        if not version:
            return None
        own_folder(self._folder / name)
        import pyrage

        sealed = read_private(self._folder / name / f"{mode}.{version}.age")
        try:
            return bytes(pyrage.decrypt(sealed, [self._identity()]))
        except pyrage.DecryptError:
            raise StoreError(
                f"secret {name} ({mode}, version {version}) cannot be opened with {self._identity_file}",
                cure=f"set it again: runner secrets set {name} --mode {mode}",
            ) from None

    def seal(self, source: Path, target: Path) -> None:
        """Make ``target`` of a file of any size such that the operator alone can open it."""
        import pyrage

        identity, part = self._identity(), target.with_name(f".{target.name}")
        with storing(target):
            pyrage.encrypt_file(str(source), str(part), [identity.to_public()])
            part.chmod(0o600)
            part.replace(target)

    def has(self, name: str, mode: str) -> bool:
        """Whether a value was set."""
        return self._newest(name, mode) > 0

    def set_at(self, name: str, mode: str) -> float | None:
        """Return when the newest value was set, in seconds since 1970, or None when there is none."""
        version = self._newest(checked_name(name), checked_mode(mode))
        path = self._folder / name / f"{mode}.{version}.age"
        with storing(path):
            return path.lstat().st_mtime if version else None

    def list(self) -> list[StoredSecret]:
        """Return every name and mode with its newest version, sorted."""
        with storing(self._folder):
            names = sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []
        found = [StoredSecret(name, mode, self._newest(name, mode)) for name in names for mode in _modes()]
        return [stored for stored in found if stored.version]

    def _newest(self, name: str, mode: str) -> int:
        folder = self._folder / name
        with storing(folder):
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        found = [match for match in map(_VERSION.fullmatch, names) if match and match[1] == mode]
        return max((int(match[2]) for match in found), default=0)

    def _identity(self) -> Any:  # noqa: ANN401 - pyrage has no types
        """Return the operator's identity, made at first use."""
        import pyrage

        own_folder(self._identity_file.parent)
        try:
            return _parse(read_private(self._identity_file), self._identity_file)
        except FileNotFoundError:
            identity = pyrage.x25519.Identity.generate()
        text = f"# public key: {identity.to_public()}\n{identity}\n"
        try:
            write_new(self._identity_file, text.encode())
        except FileExistsError:
            return _parse(read_private(self._identity_file), self._identity_file)
        return identity


def _modes() -> tuple[str, str]:
    return "production", "staging"


def _parse(text: bytes, path: Path) -> Any:  # noqa: ANN401 - pyrage has no types
    import pyrage

    lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
    key = next((line for line in lines if line and not line.startswith("#")), "")
    try:
        return pyrage.x25519.Identity.from_str(key)
    except pyrage.IdentityError:
        raise StoreError(
            f"{path} holds no age identity",
            cure="put the operator's identity back; without it the stored secrets cannot be opened",
        ) from None
