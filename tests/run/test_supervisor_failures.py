"""Whole runs on a simulated machine, in virtual time: privacy, and whatever fails."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.simulated import (
    COMPLETE,
    DUMP,
    FOLDER,
    LOG,
    LOG_ONLY,
    RECORD,
    collect,
    collect_in,
    crash_files,
    dump_file,
    open_descriptors,
    reason,
)
from trio.testing import MockClock

from kdumpd.testing import (
    Failure,
    SimulatedMachine,
    make_kdump,
)
from kdumpd.testing.makedumpfile import How, Job

# Privacy


async def test_an_unfiltered_dump_is_discarded(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.excluded["free"] = 0
    await collect(machine)
    assert reason(machine) == f"{LOG_ONLY} (no kdump: free pages were not excluded)\n"
    assert crash_files(machine) == [RECORD, LOG]


async def test_an_unfiltered_dump_is_kept_where_that_is_asked_for(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.excluded["free"] = 0
    outcome = await collect(machine, dump={"on_unfiltered": "keep"})
    assert outcome.complete
    assert outcome.record.dump.unfiltered == "free pages were not excluded"


async def test_another_level_than_the_one_asked_for_is_discarded(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.dump = lambda _level, compression: make_kdump(level=1, compression=compression)
    await collect(machine)
    assert reason(machine) == f"{LOG_ONLY} (no kdump: its dump level is 1, not 31)\n"


# makedumpfile fails


@pytest.mark.parametrize(
    ("how", "at", "collected"),
    [
        ("exit", 0.0, f"{LOG_ONLY} (no kdump: makedumpfile ended with exit code 3: oh)"),
        ("exit", 0.5, f"{COMPLETE} (incomplete: makedumpfile ended with exit code 3: oh)"),
        ("exit", 1.0, f"{COMPLETE} (incomplete: makedumpfile ended with exit code 3: oh)"),
        ("kill", 0.5, f"{COMPLETE} (incomplete: makedumpfile was killed by signal 3: oh)"),
        ("stall", 0.0, f"{LOG_ONLY} (no kdump: no progress for 60 s)"),
        ("flood", 0.5, f"{COMPLETE} (incomplete: no progress for 60 s)"),
        ("garbage", 0.0, f"{LOG_ONLY} (no kdump: what makedumpfile wrote is not a flattened stream)"),
        ("end", 0.0, f"{LOG_ONLY} (no kdump: the flattened stream ended without its end record)"),
        ("end", 0.5, f"{COMPLETE} (incomplete: the flattened stream ended without its end record)"),
        (
            "bad-record",
            0.5,
            f"{COMPLETE} (incomplete: flattened record out of range: offset -5, size 4)",
        ),
        ("endless", 0.9, f"{COMPLETE} (incomplete: size budget of 3000000 bytes ran out)"),
    ],
)
async def test_makedumpfile_fails(
    machine: SimulatedMachine, how: How, at: float, collected: str, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail("dump", how, at=at, code=3, message="oh")
    await collect_in(200, machine, dump={"max_bytes": 3000000})
    assert reason(machine) == f"{collected}\n"
    assert crash_files(machine) == ([RECORD, LOG, DUMP] if COMPLETE in collected else [RECORD, LOG])
    assert machine.leftovers() == []


@pytest.mark.parametrize(
    ("job", "how", "collected"),
    [
        ("version", "exit", f"{LOG_ONLY} (no kdump: the program is not makedumpfile: it prints no version)"),
        ("version", "stall", f"{LOG_ONLY} (no kdump: makedumpfile -v hangs)"),
        ("survey", "exit", COMPLETE),
        ("survey", "stall", COMPLETE),
        ("log", "exit", COMPLETE),
        ("log", "stall", COMPLETE),
    ],
)
async def test_a_lesser_job_of_makedumpfile_fails(
    machine: SimulatedMachine, job: Job, how: How, collected: str, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail(job, how)
    await collect_in(300, machine)
    assert reason(machine) == f"{collected}\n"
    assert (machine.files() / "reboot-stack").read_bytes() == machine.log
    assert machine.leftovers() == []


async def test_vmcore_dmesg_stands_in(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.fail("log", "exit", message="no log")
    outcome = await collect(machine)
    assert outcome.record.log.tool == "vmcore-dmesg"
    assert outcome.record.warnings == ("makedumpfile --dump-dmesg ended with exit code 1: no log",)


async def test_a_child_that_cannot_be_killed_is_left_behind(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.failures["dump"] = Failure(how="stall", at=0.5, unkillable=True)
    await collect_in(100, machine)
    assert reason(machine) == f"{COMPLETE} (incomplete: no progress for 60 s)\n"
    assert machine.journal[-1] == "restart by sysrq"
    assert [process.argv for process in machine.processes if process.running] == [
        argv for argv in machine.makedumpfile.runs if "-d" in argv and "--dry-run" not in argv
    ]


async def test_a_compression_that_was_not_built_in(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.compressions = ("lzo",)
    outcome = await collect(machine, dump={"compression": "zstd"})
    assert outcome.record.warnings == ("makedumpfile 1.7.8 has no zstd: lzo is used",)
    assert outcome.record.dump.compression == "lzo"


async def test_a_dump_cut_short_is_judged_by_the_survey(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    """The page report comes with the last byte, which a dump that was cut never had."""
    machine.makedumpfile.excluded["user"] = 0
    machine.makedumpfile.fail("dump", "exit", at=0.5)
    await collect(machine)
    why = "makedumpfile ended with exit code 1; user pages were not excluded"
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"


# The disk fails


async def test_the_disk_freezes_in_the_middle_of_the_dump(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.disk.freeze(after_bytes=100000)
    outcome = await collect_in(300, machine)
    assert outcome.reason == f"{LOG_ONLY} (no kdump: no progress for 60 s; storage does not answer)"
    why = "the machine went down while the dump was written"
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"
    assert machine.journal[-1] == "restart by sysrq"


async def test_a_disk_that_thaws_after_the_run_holds_no_descriptor(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    machine.disk.freeze(after_bytes=100000)
    await collect_in(300, machine)
    machine.disk.thaw()
    assert open_descriptors() <= before


async def test_the_disk_freezes_before_anything_is_written(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    simulated_machine.disk.freeze()
    simulated_machine.mount()
    outcome = await collect_in(300, simulated_machine)
    assert outcome.reason == "kernel panic, nothing collected: there was no storage to write to"
    assert outcome.record.warnings == ("/persist is mounted, and writing to it hangs (waited 120 s)",)
    assert simulated_machine.journal == ["restart by sysrq"]
    simulated_machine.disk.thaw()
    assert open_descriptors() <= before


async def test_a_disk_that_answers_late_is_used(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine = simulated_machine
    machine.disk.freeze()
    machine.mount()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, machine)
        await trio.sleep(60)
        machine.disk.thaw()
    assert reason(machine) == f"{COMPLETE}\n"


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_the_disk_fails_in_the_middle_of_the_dump(
    machine: SimulatedMachine, error: int, autojump_clock: MockClock
) -> None:
    machine.disk.fail(error, after_bytes=100000)
    outcome = await collect_in(300, machine)
    assert not outcome.complete
    assert f"writing the dump failed: {os.strerror(error)}" in str(outcome.record.dump.why)
    why = "the machine went down while the dump was written"
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"
    assert machine.journal[-1] == "restart by sysrq"


async def test_the_disk_fills_in_the_middle_of_the_dump(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    dump = make_kdump(pages=600, compression="none")
    machine.makedumpfile.dump = lambda _level, _compression: dump
    machine.makedumpfile.seconds = 10
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, machine)
        await trio.sleep(5)
        machine.disk.fill(leave_bytes=10000)
    why = "writing the dump failed: No space left on device"
    assert reason(machine) == f"{COMPLETE} (incomplete: {why})\n"
    assert RECORD in crash_files(machine)


async def test_a_slow_disk_is_no_broken_one(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.disk.slow_s = 4
    outcome = await collect_in(300, machine)
    assert outcome.complete
    assert reason(machine) == f"{COMPLETE}\n"


async def test_a_file_in_the_place_of_the_crash_folder(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    (machine.files() / "kcrashes").write_text("in the way")
    await collect(machine)
    assert reason(machine) == f"kernel panic, nothing collected: {FOLDER} is not a folder\n"
    assert (machine.files() / "kcrashes").read_text() == "in the way"
    assert (machine.files() / "reboot-stack").read_bytes() == machine.log


async def test_a_link_in_the_place_of_the_crash_folder(
    machine: SimulatedMachine, tmp_path: Path, autojump_clock: MockClock
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (machine.files() / "kcrashes").symlink_to(elsewhere)
    await collect(machine)
    assert reason(machine) == f"kernel panic, nothing collected: {FOLDER} is not a folder\n"
    assert list(elsewhere.iterdir()) == []


class _Broken(SimulatedMachine):
    def splice(self, source: int, target: int, size_bytes: int, offset: int) -> int:
        raise ZeroDivisionError("unforeseen")


async def test_what_nobody_foresaw_costs_only_itself(tmp_path: Path, autojump_clock: MockClock) -> None:
    machine = _Broken(tmp_path / "disk")
    machine.mount()
    outcome = await collect_in(100, machine)
    why = "ZeroDivisionError: unforeseen"
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"
    assert outcome.record.warnings == (f"collect: {why}",)
    assert machine.journal[-1] == "restart by sysrq"


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        (
            {"encryption": {"recipients": ["age1" + "q" * 58]}},
            "it was to be encrypted, which this version cannot do on the device",
        ),
        (
            {"dump": {"on_unerased": "discard"}},
            "free pages on per-CPU lists are not left out by this version, and dump.on_unerased is discard",
        ),
    ],
)
async def test_a_wall_that_is_missing_costs_the_dump_and_not_the_wall(
    machine: SimulatedMachine, autojump_clock: MockClock, sections: dict[str, dict[str, Any]], why: str
) -> None:
    await collect(machine, **sections)
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"
    assert not dump_file(machine).exists()
