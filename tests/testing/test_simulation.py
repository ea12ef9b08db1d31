"""The simulated machine itself: what tests build on must be right."""

import errno
import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from kdumpd.dmesg.causes import Cause
from kdumpd.dmesg.panic import find_panic
from kdumpd.dump import kdumpfile
from kdumpd.errors import DumpError, StorageError
from kdumpd.host.mounts import find_mount
from kdumpd.host.process import run
from kdumpd.testing import (
    CRASH_TIME_S,
    DEFAULT_LOG,
    SimulatedDeadline,
    SimulatedMachine,
    SimulatedWatchdog,
    flattened_records,
    make_kdump,
    make_vmcoreinfo,
)
from kdumpd.vmcore.headers import parse_vmcoreinfo


@pytest.mark.parametrize("compression", ["none", "zlib", "lzo", "zstd"])
@pytest.mark.parametrize("pages", [1, 15, 16, 17, 700])
def test_the_dump_is_a_valid_one(compression: str, pages: int, tmp_path: Path) -> None:
    note = make_vmcoreinfo()
    path = tmp_path / "dump"
    path.write_bytes(make_kdump(pages=pages, compression=compression, level=17, vmcoreinfo=note))
    with path.open("rb") as file:
        checked = kdumpfile.check(file.fileno())
    assert checked.complete
    assert (checked.pages, checked.header.dump_level) == (pages, 17)
    assert (checked.header.compression, checked.header.vmcoreinfo) == (compression, note)


def test_any_front_part_of_the_stream_is_a_dump_cut_short(tmp_path: Path) -> None:
    records = list(flattened_records(make_kdump(pages=100)))
    seen = []
    for number in range(7, len(records)):
        path = tmp_path / str(number)
        with path.open("w+b") as file:
            for record in records[1:number]:
                os.pwrite(file.fileno(), record[16:], int.from_bytes(record[:8], "big"))
            seen.append(kdumpfile.check(file.fileno()).pages)
    assert seen == sorted(seen)
    assert seen[-1] == 100


def test_the_default_crash_is_readable() -> None:
    found = find_panic(DEFAULT_LOG)
    assert found is not None
    assert (found.cause, found.symbol) == (Cause.NULL_DEREFERENCE, "edge_nic_reset")
    assert parse_vmcoreinfo(make_vmcoreinfo()).crash_time_s == CRASH_TIME_S


def test_mounts_stack_and_keep_their_files(simulated_machine: SimulatedMachine) -> None:
    first = simulated_machine.mount("/persist", source="/dev/vdb1")
    (first / "file").write_text("kept")
    second = simulated_machine.mount("/persist", source="/dev/vdc1", filesystem="xfs")
    assert list(second.iterdir()) == []
    top = find_mount(simulated_machine.mounts(), "/persist")
    assert top is not None
    assert (top.filesystem, top.source) == ("xfs", "/dev/vdc1")
    simulated_machine.unmount("/persist")
    simulated_machine.unmount("/persist")
    assert find_mount(simulated_machine.mounts(), "/persist") is None
    assert (simulated_machine.mount("/persist", source="/dev/vdb1") / "file").read_text() == "kept"


def test_what_is_not_mounted_cannot_be_unmounted(simulated_machine: SimulatedMachine) -> None:
    with pytest.raises(ValueError, match="nothing is mounted on /persist"):
        simulated_machine.unmount()


def test_folders_below_a_mount(simulated_machine: SimulatedMachine) -> None:
    (simulated_machine.mount("/persist") / "status").mkdir()
    with pytest.raises(StorageError, match="/persist/none does not exist"):
        simulated_machine.open_folder("/persist/none")
    folder = simulated_machine.open_folder("/persist/status")
    folder.write("file", b"data", mode=0o600)
    folder.close()
    assert (simulated_machine.files() / "status" / "file").read_bytes() == b"data"


def test_room_is_counted(simulated_machine: SimulatedMachine) -> None:
    simulated_machine.mount()
    disk = simulated_machine.disk
    folder = simulated_machine.open_folder("/persist")
    free_bytes = disk.free_bytes
    folder.write("file", bytes(1000), mode=0o600)
    assert disk.free_bytes == free_bytes - 1000
    disk.fill(leave_bytes=500)
    with pytest.raises(OSError, match="No space left on device"):
        folder.write("other", bytes(501), mode=0o600)
    folder.write("other", bytes(500), mode=0o600)
    folder.remove("file")
    assert disk.free_bytes == 1000
    folder.close()


def test_a_failing_disk_fails_everything(simulated_machine: SimulatedMachine) -> None:
    simulated_machine.mount()
    folder = simulated_machine.open_folder("/persist")
    simulated_machine.disk.fail(errno.EROFS)
    for call in (folder.sync, folder.space, folder.probe, lambda: folder.remove("file")):
        with pytest.raises(OSError, match="Read-only file system"):
            call()
    folder.close()


async def test_a_frozen_disk_holds_calls_and_thaws_them(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    folder = simulated_machine.open_folder("/persist")
    simulated_machine.disk.freeze()
    with trio.move_on_after(100) as wait:
        await simulated_machine.on_disk(folder.write, "file", b"late", mode=0o600)
    assert wait.cancelled_caught
    assert list(simulated_machine.files().iterdir()) == []
    simulated_machine.disk.thaw()
    assert (simulated_machine.files() / "file").read_bytes() == b"late"
    folder.close()


async def test_what_a_thawed_call_returns_or_raises(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    folder = simulated_machine.open_folder("/persist")
    found = []

    async def ask() -> None:
        found.append(await simulated_machine.on_disk(folder.space))
        simulated_machine.disk.freeze()
        with pytest.raises(OSError, match="Input/output error"):
            await simulated_machine.on_disk(folder.sync)

    simulated_machine.disk.freeze()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(10)
        assert found == []
        simulated_machine.disk.thaw()
        await trio.sleep(10)
        simulated_machine.disk.fail()
        simulated_machine.disk.thaw()
    assert len(found) == 1
    folder.close()


async def test_a_slow_disk_takes_trios_time(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.disk.slow_s = 7
    await simulated_machine.on_disk(simulated_machine.sync)
    assert trio.current_time() == 7


async def test_a_program_of_ones_own(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    async def echo(process):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        await process.write_stdout(" ".join(process.argv[1:]).encode())
        await process.write_stderr(b"done\n")
        return 3

    simulated_machine.programs["echo"] = echo
    finished = await run(simulated_machine.spawn, ["echo", "a", "b"])
    assert (finished.code, finished.messages) == (3, b"done\na b")
    with pytest.raises(DumpError, match="cat not found"):
        await run(simulated_machine.spawn, ["cat"])


async def test_a_deadline_acts_once_and_can_be_moved(autojump_clock: MockClock) -> None:
    acted: list[float] = []
    deadline = SimulatedDeadline(10, lambda: acted.append(trio.current_time()))
    await trio.sleep(5)
    deadline.move(20)
    await trio.sleep(100)
    assert acted == [25]
    assert not deadline.armed
    never = SimulatedDeadline(10, lambda: acted.append(0))
    never.move(None)
    await trio.sleep(100)
    assert acted == [25]


def test_a_watchdog_counts() -> None:
    watchdog = SimulatedWatchdog()
    fd = watchdog.open()
    os.write(fd, b"\0")
    os.write(fd, b"\0")
    os.close(fd)
    assert watchdog.pets == 2


def test_the_fixture_is_fresh(simulated_machine: SimulatedMachine) -> None:
    assert simulated_machine.journal == []
    assert simulated_machine.partition("P3") is None
    assert simulated_machine.leftovers() == []
