"""A dump that is cut gets the pages that are needed first: on a simulated machine, with a real vmcore."""

import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from tests import makedump
from tests.makememory import IMAGE, at, core, page
from tests.simulated import check, open_descriptors
from trio.testing import MockClock

from kdumpd import config
from kdumpd.dump import kdumpfile
from kdumpd.dump.backfill import Backfill
from kdumpd.dump.job import DumpJob
from kdumpd.dump.salvage import salvage
from kdumpd.dump.stream import Limit
from kdumpd.dump.verdict import Verdict
from kdumpd.host.threads import Worker
from kdumpd.testing import SimulatedFolder, SimulatedMachine
from kdumpd.testing.kdumpfile import descriptors_offset

T = TypeVar("T")

# With zero pages, whose shared page the simulated makedumpfile knows nothing of (level 30).
# The first 250 frames are noise, where a dump is cut; behind them the kernel's image, and what it leads to.
IMAGE_FRAMES = range(260, 264)
EXCLUDED, LED_TO = 268, 270
MEMORY = (
    {frame: random.Random(frame).randbytes(4096) for frame in range(1, 250)}
    | {frame: page(frame) for frame in IMAGE_FRAMES}
    | {262: page(at(EXCLUDED), at(LED_TO)), EXCLUDED: page(1), LED_TO: page(2), 280: page(3)}
)
INFO = f"SYMBOL(_stext)={IMAGE:x}\nPAGESIZE=4096\n".encode()
KEPT = {frame: data for frame, data in MEMORY.items() if frame != EXCLUDED}
ADDED = {*IMAGE_FRAMES, LED_TO}
CUT = Limit(size_bytes=600000, why="no more room")


@pytest.fixture
def machine(simulated_machine: SimulatedMachine) -> SimulatedMachine:
    simulated_machine.mount()
    simulated_machine.makedumpfile.dump = lambda level, compression: makedump.kdump(
        KEPT, level=level, compression=compression
    )
    return simulated_machine


@pytest.fixture
def folder(machine: SimulatedMachine) -> Iterator[SimulatedFolder]:
    opened = machine.open_folder("/persist")
    yield opened
    opened.close()


@pytest.fixture
def vmcore(tmp_path: Path) -> Path:
    path = tmp_path / "vmcore"
    path.write_bytes(core(MEMORY, image=IMAGE_FRAMES, vmcoreinfo=INFO))
    return path


def dump_of(folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, limit: Limit | None) -> DumpJob:
    return DumpJob(
        folder=folder,
        name="dump",
        settings=config.DumpSettings(level=30),
        machine=machine,
        vmcore=str(vmcore),
        compression="zlib",
        limit=limit,
    )


async def take(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, *, limit: Limit | None = CUT
) -> Verdict:
    return await dump_of(folder, machine, vmcore, limit).run()


def dumped(machine: SimulatedMachine) -> Path:
    return machine.files() / "dump"


def pages_in(dump: Path) -> dict[int, bytes]:
    """The pages in a dump as a reader sees them."""
    data, found = dump.read_bytes(), {}
    start = descriptors_offset(data)
    for index, frame in enumerate(sorted(KEPT)):
        offset, size_bytes, flags = struct.unpack_from("<QII", data, start + index * 24)
        if offset and offset + size_bytes <= len(data):
            stored = data[offset : offset + size_bytes]
            found[frame] = zlib.decompress(stored) if flags else stored
    return found


async def test_a_cut_dump_has_what_is_needed_first(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    verdict = await take(folder, machine, vmcore)
    assert (verdict.state, verdict.why, verdict.added_pages) == ("incomplete", "no more room", len(ADDED))
    found = pages_in(dumped(machine))
    assert found.keys() >= ADDED
    assert {frame: MEMORY[frame] for frame in found} == found
    assert verdict.pages == len(found) == check(dumped(machine)).pages
    assert verdict.size_bytes == dumped(machine).stat().st_size <= CUT.size_bytes
    assert check(dumped(machine)).header.incomplete
    assert open_descriptors() <= before


async def test_where_the_file_may_grow_nothing_makes_room(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail("dump", "exit", at=0.5, message="no luck")
    without = await take(folder, machine, vmcore.with_name("none"), limit=None)
    verdict = await take(folder, machine, vmcore, limit=None)
    assert verdict.why == "makedumpfile ended with exit code 1: no luck"
    assert (without.added_pages, verdict.added_pages) == (0, len(ADDED))
    assert verdict.pages == without.pages + len(ADDED)


async def test_a_whole_dump_is_left_as_it_is(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    verdict = await take(folder, machine, vmcore, limit=None)
    assert (verdict.state, verdict.added_pages) == ("complete", 0)
    assert dumped(machine).read_bytes() == machine.makedumpfile.dump(30, "zlib")


async def test_a_dump_that_is_not_kept_is_not_added_to(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    """What it was to hold is not what its level says: nobody may have more of it."""
    machine.makedumpfile.excluded["free"] = 0
    verdict = await take(folder, machine, vmcore)
    assert (verdict.state, verdict.added_pages) == ("none", 0)
    assert not dumped(machine).exists()


@pytest.mark.parametrize("damage", ["none", "empty", "no memory", "a folder"])
async def test_a_vmcore_that_fails_costs_nothing(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock, damage: str
) -> None:
    without = await take(folder, machine, vmcore.with_name("absent"))
    plain = dumped(machine).read_bytes()
    path = {"none": vmcore.with_name("other"), "a folder": vmcore.parent}.get(damage, vmcore)
    vmcore.write_bytes({"empty": b"", "no memory": vmcore.read_bytes()[: 2 * 4096]}.get(damage, b""))
    assert await take(folder, machine, path) == without
    assert dumped(machine).read_bytes() == plain


async def test_a_page_that_cannot_be_read_is_left_out(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    vmcore.write_bytes(vmcore.read_bytes()[: -20 * 4096])  # the file ends before the frame that is led to
    verdict = await take(folder, machine, vmcore)
    assert verdict.added_pages == 1


async def test_where_writing_failed_nothing_more_is_written(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    machine.disk.fill(leave_bytes=500000)
    verdict = await take(folder, machine, vmcore, limit=None)
    assert verdict.why == "writing the dump failed: No space left on device"
    assert (verdict.state, verdict.added_pages) == ("incomplete", 0)


async def test_a_cancel_leaves_time_for_it(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail("dump", "stall", at=0.5)
    dump = dump_of(folder, machine, vmcore, None)
    with trio.move_on_after(5):
        await dump.run()
    assert (dump.verdict.why, dump.verdict.added_pages) == ("interrupted", len(ADDED))


async def test_a_slow_disk_is_given_no_more_to_do(
    folder: SimulatedFolder, machine: SimulatedMachine, vmcore: Path, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail("dump", "stall", at=0.5)
    machine.disk.slow_s = 1.5
    dump = dump_of(folder, machine, vmcore, None)
    with trio.move_on_after(30):
        await dump.run()
    assert (dump.verdict.state, dump.verdict.added_pages) == ("incomplete", 0)
    assert trio.current_time() == 30 + 3 * 1.5  # a look at the file, its end, and its name


@pytest.fixture
def backfill(tmp_path: Path) -> Backfill:
    """Those of a dump that was cut, with more to be added than is read at once."""
    file = tmp_path / "cut"
    file.write_bytes(makedump.kdump(KEPT)[: CUT.size_bytes])
    fd = os.open(file, os.O_RDWR)
    return Backfill(fd, kdumpfile.check(fd), limit_bytes=None)


async def test_a_read_that_hangs_is_left_behind(
    backfill: Backfill, tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Hanging(SimulatedMachine):
        hangs = False

        async def compute(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
            if self.hangs:
                await trio.sleep_forever()
            return await super().compute(call, *args, **kwargs)

    hanging = Hanging(tmp_path)
    vmcore = tmp_path / "vmcore"
    vmcore.write_bytes(core(MEMORY, image=range(1, 250), vmcoreinfo=INFO))
    disk = Worker(hanging.on_disk)

    def hang() -> None:
        hanging.hangs = True

    await salvage(backfill, str(vmcore), machine=hanging, disk=disk, advance=hang)
    assert trio.current_time() == pytest.approx(2, abs=0.01)
    assert not disk.busy
    assert backfill.filled > 10
