"""The two committed binaries of sandbox-init, found and checked before use."""

from __future__ import annotations

import shutil

import pytest

from runner.errors import SandboxError
from runner.sandbox.init import binary


def test_both_machines_have_a_static_binary_and_others_a_clear_error() -> None:
    for machine in ("x86_64", "aarch64", "arm64"):
        assert binary.path_for(machine).read_bytes().startswith(b"\x7fELF")
    with pytest.raises(SandboxError, match="riscv64"):
        binary.path_for("riscv64")


def test_an_altered_binary_is_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(binary.FOLDER, f"{tmp_path}/bin")
    with open(f"{copy}/sandbox-init-x86_64", "ab") as file:  # noqa: PTH123
        file.write(b"!")
    monkeypatch.setattr(binary, "FOLDER", type(binary.FOLDER)(copy))
    with pytest.raises(SandboxError, match="altered"):
        binary.path_for("x86_64")
