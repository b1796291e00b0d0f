"""Swap that is not known to be encrypted is told; memory that is compressed in memory is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.custody.swap import unencrypted_swap

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def told(folder: Path, *lines: str, **devices: dict[str, str]) -> list[str]:
    (folder / "proc").mkdir()
    (folder / "proc" / "swaps").write_text(HEAD + "".join(f"{line} 100 0 -2\n" for line in lines))
    for name, files in devices.items():
        device = folder / "sys" / "class" / "block" / name
        for path, content in files.items():
            (device / path).parent.mkdir(parents=True, exist_ok=True)
            (device / path).write_text(content)
    return unencrypted_swap(folder / "proc", folder / "sys")


def test_no_swap_is_safe(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    assert unencrypted_swap(tmp_path / "nowhere", tmp_path) == []


def test_a_plain_partition_and_a_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "swapfile").write_text("")
    lines = ("/dev/sda2 partition", f"{tmp_path / 'swapfile'} file")
    assert told(tmp_path, *lines, sda2={"size": "1"}) == ["/dev/sda2", str(tmp_path / "swapfile")]


def test_an_encrypted_device_is_safe(tmp_path: Path) -> None:
    assert told(tmp_path, "/dev/dm-1 partition", **{"dm-1": {"dm/uuid": "CRYPT-PLAIN-swap\n"}}) == []


def test_compressed_memory_is_safe_unless_it_is_written_out(tmp_path: Path) -> None:
    lines = ("/dev/zram0 partition", "/dev/zram1 partition")
    devices = {"zram0": {"backing_dev": "none\n"}, "zram1": {"backing_dev": "/dev/sda3\n"}}
    assert told(tmp_path, *lines, **devices) == ["/dev/zram1"]
