"""The log out of the vmcore: from whichever tool has it, and the end of a long one. Real processes."""

import tracemalloc
from pathlib import Path

import pytest
from tests.simulated import open_descriptors

from kdumpd.dump.logtail import LOG_BYTES, LogTail
from kdumpd.dump.tools import CrashLog, read_log
from kdumpd.host.linux import LinuxMachine

LINE = b"[    7.000000] a line of a log that goes on and on\n"
MIB = 1 << 20


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of makedumpfile and vmcore-dmesg; neither is there."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("makedumpfile", "vmcore-dmesg"):
        put(tmp_path / name, "exit 1")
    return tmp_path


def put(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


async def read(tool: Path) -> CrashLog:
    return await read_log(LinuxMachine(), program=str(tool / "makedumpfile"), vmcore="/dev/null")


async def test_the_log_comes_from_makedumpfile(tool: Path) -> None:
    put(tool / "makedumpfile", 'echo "$@"; echo a message >&2')
    log = await read(tool)
    assert log.data == b"--dump-dmesg -F --message-level 4 /dev/null\n"
    assert (log.tool, log.warnings) == (str(tool / "makedumpfile"), ())


async def test_vmcore_dmesg_stands_in_and_leaves_nothing_of_the_first_try(tool: Path) -> None:
    put(tool / "makedumpfile", "echo half a log; echo no luck >&2; exit 2")
    put(tool / "vmcore-dmesg", "echo the log")
    before = open_descriptors()
    log = await read(tool)
    assert (log.data, log.tool) == (b"the log\n", "vmcore-dmesg")
    why = "--dump-dmesg ended with exit code 2: no luck"
    assert log.warnings == (f"{tool / 'makedumpfile'} {why}",)
    assert open_descriptors() <= before


async def test_a_log_of_nothing_is_none(tool: Path) -> None:
    put(tool / "makedumpfile", "head -c 5000 /dev/zero")
    log = await read(tool)
    assert (log.data, log.tool) == (b"", None)
    assert log.warnings[0] == f"{tool / 'makedumpfile'} found an empty log"
    assert log.warnings[1] == "vmcore-dmesg ended with exit code 1"


async def test_of_a_log_that_is_too_long_the_end_is_kept(tool: Path) -> None:
    put(tool / "makedumpfile", f"yes '{LINE.decode().strip()}' | head -c 20000000; echo; echo the end")
    log = await read(tool)
    assert LOG_BYTES - len(LINE) < len(log.data) <= LOG_BYTES
    assert log.data.startswith(LINE * 2)
    assert log.data.endswith(b"\nthe end\n")
    assert log.warnings == ("the log has 19.1 MiB; its last 16.0 MiB are kept",)


@pytest.mark.parametrize("size_bytes", [0, 1, LOG_BYTES - 1, LOG_BYTES, LOG_BYTES + 1, 3 * LOG_BYTES + 5])
def test_any_length(size_bytes: int) -> None:
    whole = (LINE * (size_bytes // len(LINE) + 1))[:size_bytes]
    log = LogTail()
    for start in range(0, size_bytes, 60000):
        log.add(whole[start : start + 60000])
    kept = log.take()
    assert log.size_bytes == size_bytes
    assert whole.endswith(kept)
    assert min(size_bytes, LOG_BYTES - len(LINE)) <= len(kept) <= min(size_bytes, LOG_BYTES)
    assert kept.startswith(LINE) or size_bytes < len(LINE)


def test_a_long_log_takes_little_more_memory_than_is_kept_of_it() -> None:
    chunk = LINE * 200
    tracemalloc.start()
    log = LogTail()
    for _ in range(3 * LOG_BYTES // len(chunk)):
        log.add(chunk)
    kept = log.take()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) > LOG_BYTES - len(LINE)
    assert peak_bytes < 1.25 * LOG_BYTES
