"""The reason files: their order, their limits, and the line that always fits."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.crashes.reasons import REASON_BYTES, Reasons, commit_reasons, reason_line
from kdumpd.dump.verdict import NO_DUMP, Verdict
from kdumpd.host.folder import Folder, NewFile


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    opened = Folder.open(str(tmp_path))
    yield opened
    opened.close()


def test_the_reason_set(folder: Folder, tmp_path: Path) -> None:
    commit_reasons(folder, Reasons(stack=b"log\n", line="kernel panic, x", crash_time_s=1795398039))
    assert (tmp_path / "reboot-stack").read_bytes() == b"log\n"
    assert (tmp_path / "boot-reason").read_bytes() == b"BootReasonKernel\n"
    assert (tmp_path / "boot-reason").stat().st_mtime == 1795398039
    assert (tmp_path / "reboot-reason").read_bytes() == b"kernel panic, x\n"
    assert {mode(file) for file in tmp_path.iterdir()} == {0o644}


def test_a_second_verdict_changes_the_line_alone(folder: Folder, tmp_path: Path) -> None:
    commit_reasons(folder, Reasons(stack=b"log\n", line="first", crash_time_s=5))
    commit_reasons(folder, Reasons(stack=None, line="second", crash_time_s=5))
    assert (tmp_path / "reboot-reason").read_bytes() == b"second\n"
    assert (tmp_path / "reboot-stack").read_bytes() == b"log\n"


def test_a_line_too_long_for_eves_reader_is_cut(folder: Folder, tmp_path: Path) -> None:
    commit_reasons(folder, Reasons(stack=b"", line="x" * 20000, crash_time_s=None))
    content = (tmp_path / "reboot-reason").read_bytes()
    assert len(content) == REASON_BYTES
    assert content.endswith(b"x\n")


class Recording(Folder):
    """A folder that notes the order in which names appear, and fails at a chosen one."""

    fails_at = ""
    seen: list[str]

    def publish(self, file: NewFile) -> None:
        if file.name == self.fails_at:
            raise OSError(28, "No space left on device")
        self.seen.append(file.name)
        super().publish(file)


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    opened = Recording.open(str(tmp_path))
    Recording.seen = []
    Recording.fails_at = ""
    yield opened
    opened.close()


def test_reboot_reason_comes_last(recording: Recording) -> None:
    commit_reasons(recording, Reasons(stack=b"log\n", line="why", crash_time_s=None))
    assert recording.seen == ["reboot-stack", "boot-reason", "reboot-reason"]


@pytest.mark.parametrize("name", ["reboot-stack", "boot-reason", "reboot-reason"])
def test_an_old_reason_never_stands_beside_a_new_stack(
    recording: Recording, tmp_path: Path, name: str
) -> None:
    (tmp_path / "reboot-reason").write_bytes(b"an older panic\n")
    Recording.fails_at = name
    with pytest.raises(OSError, match="No space"):
        commit_reasons(recording, Reasons(stack=b"new\n", line="new", crash_time_s=None))
    assert not (tmp_path / "reboot-reason").exists()
    left = [file for file in os.listdir(tmp_path) if file.startswith(".kdumpd-")]
    assert left in ([], [".kdumpd-reserve.tmp"])  # what is held for the line, until the next try


class Full(Folder):
    """A folder with so much room for a file."""

    room_bytes = 0

    def write(self, name: str, data: bytes, *, mode: int, mtime_s: int | None = None) -> None:
        if len(data) > self.room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(name, data, mode=mode, mtime_s=mtime_s)


@pytest.mark.parametrize(("room_bytes", "stack_bytes"), [(200 << 10, 128 << 10), (5000, 4 << 10), (100, 0)])
def test_the_stack_gives_way_and_never_the_line(tmp_path: Path, room_bytes: int, stack_bytes: int) -> None:
    full = Full.open(str(tmp_path))
    Full.room_bytes = room_bytes
    shorter = commit_reasons(full, Reasons(stack=b"0123456\n" * 100000, line="why", crash_time_s=None))
    full.close()
    assert shorter == stack_bytes
    assert len((tmp_path / "reboot-stack").read_bytes()) == stack_bytes
    assert (tmp_path / "reboot-reason").read_bytes() == b"why\n"
    assert (tmp_path / "boot-reason").read_bytes() == b"BootReasonKernel\n"


@pytest.mark.parametrize(
    ("verdict", "log", "wanted", "line"),
    [
        (Verdict(state="complete"), "/l", True, "kernel panic, kdump collected: /d"),
        (
            Verdict(state="incomplete", why="x"),
            "/l",
            True,
            "kernel panic, kdump collected: /d (incomplete: x)",
        ),
        (Verdict(state="none", why="x"), "/l", True, "kernel panic, dmesg collected: /l (no kdump: x)"),
        (NO_DUMP, "/l", False, "kernel panic, dmesg collected: /l"),
        (Verdict(state="none", why="x"), None, True, "kernel panic, nothing collected: gone; x"),
        (NO_DUMP, None, False, "kernel panic, nothing collected: gone"),
    ],
)
def test_the_line(verdict: Verdict, log: str | None, wanted: bool, line: str) -> None:
    told = reason_line(verdict, dump_path="/d", log_path=log, dump_wanted=wanted, why_no_log=["gone"])
    assert told == line
