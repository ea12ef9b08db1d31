"""Whole runs on a simulated machine, in virtual time: what lands on disk, and when, whatever goes wrong."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
import trio
from tests.simulated import (
    COMPLETE,
    DUMP,
    FOLDER,
    LOG,
    LOG_ONLY,
    RECORD,
    STAMP,
    check,
    collect,
    configured,
    crash_files,
    dump_file,
    open_descriptors,
    reason,
)
from trio.testing import MockClock

from kdumpd.run.finish import Ending, Outcome, describe_only, restart_machine
from kdumpd.run.supervisor import BEGIN, END, supervise
from kdumpd.testing import (
    CRASH_TIME_S,
    Failure,
    SimulatedMachine,
    SimulatedWatchdog,
    make_kdump,
)
from kdumpd.testing.makedumpfile import How, Job


@pytest.fixture
def machine(simulated_machine: SimulatedMachine) -> SimulatedMachine:
    """A machine whose storage is ready."""
    simulated_machine.attach_partition()
    simulated_machine.mount()
    return simulated_machine


# What lands on disk


async def test_what_is_wrong_with_the_settings_is_said_and_recorded(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    outcome = await supervise(configured(), machine=machine, warnings=["f.toml: dump.level: must be 0 to 31"])
    assert outcome.complete
    assert machine.console.lines()[0] == "kdumpd: f.toml: dump.level: must be 0 to 31"
    record = json.loads((machine.files() / "kcrashes" / RECORD).read_text())
    assert record["warnings"] == ["f.toml: dump.level: must be 0 to 31"]


async def test_the_panic_text_is_on_every_console(
    machine: SimulatedMachine, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "consoles", lambda: ("/dev/tty0", "/dev/ttyS0"))
    machine.console.block("/dev/tty0")
    await supervise(configured(), machine=machine)
    assert BEGIN in machine.console.lines("/dev/ttyS0")
    assert machine.console.lines("/dev/console") == []


async def test_everything_is_collected(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    outcome = await collect(machine)
    assert outcome.complete
    assert reason(machine) == f"{COMPLETE}\n"
    assert crash_files(machine) == [RECORD, LOG, DUMP]
    assert check(dump_file(machine)).complete
    files = machine.files()
    assert (files / "kcrashes" / LOG).read_bytes() == machine.log
    assert (files / "reboot-stack").read_bytes() == machine.log
    assert (files / "boot-reason").read_bytes() == b"BootReasonKernel\n"
    assert (files / "boot-reason").stat().st_mtime == CRASH_TIME_S
    assert machine.leftovers() == []


async def test_modes(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    await collect(machine)
    modes = {
        path.name: path.stat().st_mode & 0o777
        for path in [*machine.files().iterdir(), *machine.files().glob("kcrashes/*")]
    }
    assert modes == {
        "kcrashes": 0o700,
        DUMP: 0o600,
        LOG: 0o600,
        RECORD: 0o600,
        "reboot-reason": 0o644,
        "reboot-stack": 0o644,
        "boot-reason": 0o644,
    }


async def test_the_dump_is_what_makedumpfile_sent(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    sent = make_kdump(pages=300, compression="zlib")
    machine.makedumpfile.dump = lambda _level, _compression: sent
    await collect(machine)
    assert dump_file(machine).read_bytes() == sent


async def test_a_dump_cut_short_is_sealed(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.fail("dump", "exit", at=0.5, message="out of luck")
    outcome = await collect(machine)
    why = "makedumpfile ended with exit code 1: out of luck"
    assert not outcome.complete
    assert reason(machine) == f"{COMPLETE} (incomplete: {why})\n"
    checked = check(dump_file(machine))
    assert checked.header.incomplete
    assert 0 < checked.pages < checked.expected_pages


async def test_only_the_log(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.fail("dump", "exit", message="out of luck")
    outcome = await collect(machine)
    assert not outcome.complete
    assert reason(machine) == (f"{LOG_ONLY} (no kdump: makedumpfile ended with exit code 1: out of luck)\n")
    assert crash_files(machine) == [RECORD, LOG]


async def test_a_dump_that_was_not_wanted_is_not_missed(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    outcome = await collect(machine, dump={"enabled": False})
    assert outcome.complete
    assert reason(machine) == f"{LOG_ONLY}\n"
    assert crash_files(machine) == [RECORD, LOG]
    assert [argv[1] for argv in machine.makedumpfile.runs] == ["--dump-dmesg"]


async def test_a_dump_without_a_log(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.log = b""
    outcome = await collect(machine)
    assert not outcome.complete
    assert reason(machine) == f"{COMPLETE}\n"
    assert (machine.files() / "reboot-stack").read_bytes() == b""
    assert machine.console.lines().count("no log could be read") == 1


async def test_nothing_at_all(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.programs.clear()
    await collect(machine)
    whys = "makedumpfile not found; vmcore-dmesg not found"
    assert reason(machine) == f"kernel panic, nothing collected: {whys}\n"
    assert crash_files(machine) == [RECORD]


async def test_no_storage_is_no_file(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    outcome = await collect(simulated_machine)
    assert not outcome.complete
    assert outcome.reason == "kernel panic, nothing collected: there was no storage to write to"
    assert outcome.record.budgets_spent == ("storage",)
    assert not simulated_machine.files().exists()
    assert simulated_machine.journal == ["sync", "restart by sysrq"]
    why = "kdumpd: no device labelled P3 yet, /persist is not mounted (waited 120 s)"
    assert why in simulated_machine.console.lines()


async def test_a_long_log_is_cut_at_a_line_start(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    lines = [b"[%12.6f] line %d\n" % (number / 9, number) for number in range(30000)]
    machine.log = b"".join(lines)
    await collect(machine)
    stack = (machine.files() / "reboot-stack").read_bytes()
    assert 524288 - 64 < len(stack) <= 524288
    assert machine.log.endswith(stack)
    assert stack.startswith(b"[")
    assert (machine.files() / "kcrashes" / LOG).read_bytes() == machine.log


async def test_without_a_crash_time_the_time_is_now(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.vmcoreinfo_note = None
    outcome = await collect(machine)
    assert outcome.complete
    assert outcome.record.warnings == ("/proc/vmcore: no VMCOREINFO note",)
    assert outcome.record.crash_time_s is None
    assert len(crash_files(machine)) == 3
    assert STAMP not in outcome.reason


async def test_the_record_tells_it_all(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    outcome = await collect(machine)
    record = json.loads((machine.files() / "kcrashes" / RECORD).read_text())
    assert record["reason"] == COMPLETE
    assert record["cause"] == "null-dereference"
    assert record["symbol"] == "edge_nic_reset"
    assert record["release"] == "6.12.28-linuxkit"
    assert record["log"] == {"name": LOG, "size_bytes": len(machine.log), "tool": "makedumpfile"}
    assert record["dump"]["state"] == "complete"
    assert record["dump"]["report"]["free_pages"] == 120000
    assert record["tools"]["makedumpfile"] == machine.makedumpfile.version
    assert {"log", "storage", "dump", "reasons"} <= {phase["name"] for phase in record["phases"]}
    assert record["warnings"] == []
    assert outcome.record.fingerprint == record["fingerprint"]


async def test_a_second_crash_in_the_same_second(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    await collect(machine)
    first = dump_file(machine).read_bytes()
    machine.mount()
    machine.makedumpfile.dump = lambda level, name: make_kdump(pages=99, level=level, compression=name)
    outcome = await collect(machine)
    assert outcome.reason == f"kernel panic, kdump collected: {FOLDER}/kdump-{STAMP}-2.dump"
    assert dump_file(machine).read_bytes() == first
    assert f"kdump-{STAMP}-2.dump" in crash_files(machine)


async def test_reasons_in_a_folder_of_their_own(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    elsewhere = machine.mount("/run/reasons", source="/dev/vdc1")
    await collect(machine, reasons={"directory": "/run/reasons"})
    assert (elsewhere / "reboot-reason").read_text() == f"{COMPLETE}\n"
    assert reason(machine) is None


async def test_a_folder_for_reasons_that_is_missing_costs_nothing_else(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    outcome = await collect(machine, reasons={"directory": "/run/reasons"})
    assert outcome.complete
    assert outcome.record.warnings == ("/run/reasons does not exist: the reasons go to /persist",)
    assert reason(machine) == f"{COMPLETE}\n"


# In which order


async def test_each_step_is_durable_before_the_next_begins(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    await collect(machine)
    marks = ("publish", f"create {FOLDER}/{DUMP}", "remove /persist/reboot-reason")
    assert [step for step in machine.journal if step.startswith(marks)] == [
        f"publish {FOLDER}/{LOG}",
        # the provisional verdict
        "remove /persist/reboot-reason",
        "publish /persist/reboot-stack",
        "publish /persist/boot-reason",
        "publish /persist/reboot-reason",
        f"create {FOLDER}/{DUMP}",
        f"publish {FOLDER}/{DUMP}",
        # the final one
        "publish /persist/reboot-reason",
        f"publish {FOLDER}/{RECORD}",
    ]
    assert machine.journal[-3:] == ["unmount /persist", "sync", "restart by sysrq"]


async def test_what_a_power_cut_in_the_middle_of_the_dump_leaves(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail("dump", "stall", at=0.5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, machine)
        await trio.sleep(30)
        why = "the machine went down while the dump was written"
        assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"
        assert crash_files(machine) == [f".kdumpd-{DUMP}.tmp", LOG]
        nursery.cancel_scope.cancel()


async def test_what_a_cut_run_left_is_cleared(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    folder = machine.files() / "kcrashes"
    folder.mkdir()
    (folder / ".kdumpd-kdump-20260101T000000Z.dump.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("not ours")
    outcome = await collect(machine)
    assert outcome.record.warnings == (
        "an earlier run was cut off; removed .kdumpd-kdump-20260101T000000Z.dump.tmp",
    )
    assert crash_files(machine) == [RECORD, LOG, DUMP, "notes.txt"]


async def test_five_dumps_remain_and_foreign_files_stay(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    folder = machine.files() / "kcrashes"
    folder.mkdir()
    stamps = [f"2026010{day}T000000Z" for day in range(1, 6)]
    for stamp in stamps:
        for name in (f"kdump-{stamp}.dump", f"dmesg-{stamp}.log", f"crash-{stamp}.json"):
            (folder / name).write_text("old")
    (folder / "kdump-of-mine.dump").write_text("not ours")
    await collect(machine)
    dumps = [name for name in crash_files(machine) if name.startswith("kdump-2")]
    assert dumps == [*(f"kdump-{stamp}.dump" for stamp in stamps[1:]), DUMP]
    assert len(crash_files(machine)) == 3 * 5 + 1


# The gate


async def test_the_gate_opens_only_at_the_right_mount(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine, marks = simulated_machine, []

    async def boot() -> None:
        await trio.sleep(2)
        machine.mount(filesystem="tmpfs", source="tmpfs")
        await trio.sleep(2)
        machine.attach_partition()
        await trio.sleep(2)
        machine.unmount()
        await trio.sleep(2)
        machine.mount(read_only=True)
        await trio.sleep(2)
        marks.append(len([step for step in machine.journal if step.startswith("create")]))
        machine.remount(read_only=False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot)
        outcome = await collect(machine)
    assert outcome.complete
    assert marks == [0]
    said = [(line.at_s, line.text) for line in machine.console.written if "persist" in line.text]
    assert said[:7] == [
        (0, "kdumpd: waiting for /persist (device events: simulated)"),
        (0, "kdumpd: no device labelled P3 yet, /persist is not mounted"),
        (2, "kdumpd: /persist is tmpfs, not one of ext3, ext4, zfs"),
        (6, "kdumpd: /dev/vdb1 is there, /persist is not mounted"),
        (8, "kdumpd: /persist is mounted read-only"),
        (10, "kdumpd: /persist is ready: /dev/vdb1, 65536 MiB free"),
        (10, f"kdumpd: {COMPLETE}"),
    ]


async def test_the_mount_event_starts_the_dump(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    began: list[float] = []

    def note(level: int, compression: str) -> bytes:
        began.append(trio.current_time())
        return make_kdump(level=level, compression=compression)

    simulated_machine.makedumpfile.dump = note
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, simulated_machine)
        await trio.sleep(7.3)
        simulated_machine.mount()
    assert began == [pytest.approx(7.3, abs=0.1)]


async def test_a_lost_event_costs_a_re_scan(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.loses_events = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, simulated_machine)
        await trio.sleep(7.3)
        simulated_machine.mount()
    assert reason(simulated_machine) == f"{COMPLETE}\n"
    ready = [line.at_s for line in simulated_machine.console.written if "is ready" in line.text]
    assert ready == [10]


async def test_it_waits_as_long_as_the_setting_says(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, simulated_machine)
        await trio.sleep(119)
        simulated_machine.mount()
    assert reason(simulated_machine) == f"{COMPLETE}\n"


# Budgets


@pytest.mark.parametrize(
    ("dump", "why"),
    [
        ({"time_s": 10}, "time budget of 10 s ran out"),
        ({"max_bytes": 150000}, "size budget of 150000 bytes ran out"),
    ],
)
async def test_a_dump_over_its_budget_is_sealed(
    machine: SimulatedMachine, dump: dict[str, float], why: str, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.seconds = 20
    await collect(machine, dump=dump)
    assert reason(machine) == f"{COMPLETE} (incomplete: {why})\n"
    assert check(dump_file(machine)).header.incomplete
    assert dump_file(machine).stat().st_size <= dump.get("max_bytes", 1e9)


async def test_a_dump_that_stalls_is_sealed(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.fail("dump", "stall", at=0.5)
    await collect(machine, dump={"stall_s": 30})
    assert reason(machine) == f"{COMPLETE} (incomplete: no progress for 30 s)\n"
    assert trio.current_time() == pytest.approx(30, abs=5)


async def test_slow_progress_is_no_stall(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.seconds = 300
    outcome = await collect(machine, dump={"stall_s": 12})
    assert outcome.complete


async def test_the_total_budget_seals_the_dump(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.seconds = 100
    outcome = await collect(machine, budget={"total_s": 40})
    assert reason(machine) == f"{COMPLETE} (incomplete: total budget of 40 s ran out)\n"
    assert outcome.record.budgets_spent == ("total",)
    assert trio.current_time() == pytest.approx(40, abs=1)


async def test_the_total_budget_ends_the_wait_for_storage(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    await collect(simulated_machine, budget={"total_s": 40})
    assert simulated_machine.journal[-1] == "restart by sysrq"
    assert trio.current_time() == pytest.approx(40, abs=1)


async def test_the_floor_is_kept_free(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    big = make_kdump(pages=600, compression="none")
    machine.makedumpfile.dump = lambda _level, _compression: big
    machine.disk.fill(leave_bytes=4354 << 20)
    await collect(machine)
    why = "space ran out: 4352 MiB must stay free"
    assert reason(machine) == f"{COMPLETE} (incomplete: {why})\n"
    assert machine.disk.free_bytes >= 4352 << 20


async def test_too_little_room_for_any_dump(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.disk.fill(leave_bytes=100 << 20)
    await collect(machine)
    why = "only 99 MiB free on /persist, and 4352 MiB must stay free"
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"


def leave_dumps(machine: SimulatedMachine, *stamps: str) -> list[str]:
    """Leave older dumps in the crash folder; returns their names."""
    folder = machine.files() / "kcrashes"
    folder.mkdir()
    names = [f"kdump-{stamp}.dump" for stamp in stamps]
    for name in names:
        (folder / name).write_text("old")
    return names


FIVE_LATELY = [f"20261123T01{minute}00Z" for minute in (10, 15, 20, 25, 30)]
FIVE_LONG_AGO = [f"2025010{day}T000000Z" for day in range(1, 6)]


async def test_a_crash_loop_skips_the_dump(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    leave_dumps(machine, *FIVE_LATELY[-3:])
    await collect(machine)
    assert reason(machine) == f"{LOG_ONLY} (no kdump: crash loop: 3 dumps within 3600 s)\n"


async def test_a_crash_loop_costs_no_older_dump(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    left = leave_dumps(machine, *FIVE_LATELY)
    await collect(machine)
    assert crash_files(machine) == [RECORD, LOG, *left]


async def test_no_dump_wanted_costs_no_older_dump(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    left = leave_dumps(machine, *FIVE_LONG_AGO)
    await collect(machine, dump={"enabled": False})
    assert crash_files(machine) == [RECORD, LOG, *left]


async def test_no_log_costs_no_older_log(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    folder = machine.files() / "kcrashes"
    folder.mkdir()
    logs = [f"dmesg-{stamp}.log" for stamp in FIVE_LONG_AGO]
    for name in logs:
        (folder / name).write_text("old")
    machine.log = b""
    await collect(machine)
    assert crash_files(machine) == [RECORD, *logs, DUMP]


async def test_a_run_cut_short_before_its_dump_costs_no_older_dump(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    left = leave_dumps(machine, *FIVE_LONG_AGO)
    machine.makedumpfile.fail("log", "stall")
    await collect(machine, budget={"total_s": 5})
    assert crash_files(machine) == [RECORD, *left]


async def test_a_dump_takes_the_place_of_the_oldest(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    left = leave_dumps(machine, *FIVE_LONG_AGO)
    await collect(machine)
    assert crash_files(machine) == [RECORD, LOG, *left[1:], DUMP]


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
            f"{COMPLETE} (incomplete: flattened record with an impossible place: offset -5, size 4)",
        ),
        ("endless", 0.9, f"{COMPLETE} (incomplete: size budget of 3000000 bytes ran out)"),
    ],
)
async def test_makedumpfile_fails(
    machine: SimulatedMachine, how: How, at: float, collected: str, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail("dump", how, at=at, code=3, message="oh")
    await _collect_in(200, machine, dump={"max_bytes": 3000000})
    assert reason(machine) == f"{collected}\n"
    assert crash_files(machine) == ([RECORD, LOG, DUMP] if COMPLETE in collected else [RECORD, LOG])
    assert machine.leftovers() == []


async def _collect_in(seconds: float, machine: SimulatedMachine, **sections: dict[str, float]) -> Outcome:
    with trio.fail_after(seconds):
        return await collect(machine, **sections)


@pytest.mark.parametrize(
    ("job", "how", "collected"),
    [
        ("version", "exit", f"{LOG_ONLY} (no kdump: the program does not name itself as makedumpfile does)"),
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
    await _collect_in(300, machine)
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
    await _collect_in(100, machine)
    assert reason(machine) == f"{COMPLETE} (incomplete: no progress for 60 s)\n"
    assert machine.journal[-1] == "restart by sysrq"
    assert [process.argv for process in machine.processes if process.running] == [
        argv for argv in machine.makedumpfile.runs if "-F" in argv and "--dry-run" not in argv
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
    outcome = await _collect_in(300, machine)
    assert outcome.reason == f"{LOG_ONLY} (no kdump: no progress for 60 s; storage does not answer)"
    why = "the machine went down while the dump was written"
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"
    assert machine.journal[-1] == "restart by sysrq"


async def test_a_disk_that_thaws_after_the_run_holds_no_descriptor(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    machine.disk.freeze(after_bytes=100000)
    await _collect_in(300, machine)
    machine.disk.thaw()
    assert open_descriptors() <= before


async def test_the_disk_freezes_before_anything_is_written(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    simulated_machine.disk.freeze()
    simulated_machine.mount()
    outcome = await _collect_in(300, simulated_machine)
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
    outcome = await _collect_in(300, machine)
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
    outcome = await _collect_in(300, machine)
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


# The console


async def test_the_panic_text_does_not_wait_for_storage(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, simulated_machine)
        await trio.sleep(1)
        lines = simulated_machine.console.lines()
        shown = lines[lines.index(BEGIN) : lines.index(END) + 1]
        assert shown[1:-1] == simulated_machine.log.decode().splitlines()[3:]
        nursery.cancel_scope.cancel()


async def test_the_restart_waits_for_the_panic_text(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    await supervise(configured(console={"line_delay_s": 2}), machine=machine)
    assert machine.console.lines()[-2:] == [END, "kdumpd: restart at once by sysrq"]


async def test_a_console_that_blocks_holds_up_nobody(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.console.block("/dev/ttyS0")
    machine.console.fail("/dev/ttyS1")
    targets = ["/dev/ttyS0", "/dev/ttyS1", "/dev/console"]
    outcome = await collect(machine, console={"targets": targets})
    assert outcome.complete
    assert machine.console.lines("/dev/ttyS0") == machine.console.lines("/dev/ttyS1") == []
    assert END in machine.console.lines("/dev/console")
    assert trio.current_time() < 10


async def test_progress_is_said_every_five_seconds(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.seconds = 18
    await collect(machine)
    said = [line for line in machine.console.written if line.text.startswith("kdumpd: dump: ")]
    assert [line.at_s for line in said] == pytest.approx([5, 10, 15], abs=0.1)
    assert re.fullmatch(r"kdumpd: dump: \d\d\.\d %, 0\.\d MiB, 0\.0 MiB/s, \d+ s left", said[0].text)


# The end


@pytest.mark.parametrize(
    ("panic_timeout", "said", "at_s"),
    [
        (-1, "restart at once by sysrq", 0),
        (30, "restart in 30 s by sysrq", 30),
        (None, "restart at once by sysrq (/proc/sys/kernel/panic cannot be read)", 0),
    ],
)
async def test_the_restart_obeys_the_kernel(
    machine: SimulatedMachine, panic_timeout: int | None, said: str, at_s: float, autojump_clock: MockClock
) -> None:
    machine.panic_timeout = panic_timeout
    await collect(machine)
    assert machine.console.lines()[-1] == f"kdumpd: {said}"
    assert machine.journal[-3:] == ["unmount /persist", "sync", "restart by sysrq"]
    assert trio.current_time() == pytest.approx(at_s, abs=0.1)


async def test_a_timeout_of_zero_stays_for_ever(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.panic_timeout = 0
    with trio.move_on_after(20000) as forever:
        await collect(machine)
    assert forever.cancelled_caught
    assert machine.journal[-2:] == ["unmount /persist", "sync"]
    assert machine.console.lines()[-1] == (
        "kdumpd: stay here until someone restarts the machine (kernel.panic is 0)"
    )
    assert machine.deadline is not None
    assert not machine.deadline.acted


async def test_a_long_timeout_moves_the_deadline(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.panic_timeout = 5000
    await collect(machine)
    assert trio.current_time() == pytest.approx(5000, abs=0.1)
    assert machine.journal.count("restart by sysrq") == 1
    assert machine.leftovers() == []


async def test_a_restart_that_is_refused_is_said(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.restart_trouble = "/proc/sysrq-trigger: Permission denied; reboot(2): Operation not permitted"
    await collect(machine, reboot={"method": "syscall"})
    assert machine.journal[-1] == "restart by syscall"
    assert machine.console.lines()[-1] == f"kdumpd: the restart failed: {machine.restart_trouble}"


async def test_a_file_system_that_stays_mounted_is_said(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.unmount_trouble = "Device or resource busy"
    await collect(machine)
    assert "kdumpd: /persist stays mounted: Device or resource busy" in machine.console.lines()
    assert machine.journal[-1] == "restart by sysrq"


async def test_a_sync_that_hangs_is_left(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    async def freeze_then_restart(ending: Ending) -> None:
        machine.disk.freeze()
        await restart_machine(ending)

    await supervise(configured(), machine=machine, finish=freeze_then_restart)
    assert "kdumpd: sync hangs: going on without it after 30 s" in machine.console.lines()
    assert machine.journal[-1] == "restart by sysrq"


async def test_without_reboot_nothing_is_done(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    await supervise(configured(), machine=machine, finish=describe_only)
    assert machine.console.lines()[-1] == (
        "kdumpd: without --no-reboot: sync, unmount /persist, restart at once by sysrq"
    )
    assert not [step for step in machine.journal if step.startswith(("sync", "unmount", "restart"))]


async def test_the_deadline_acts_when_the_end_hangs(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async def hang(_ending: Ending) -> None:
        await trio.sleep_forever()

    acted_at: list[float] = []
    with trio.move_on_after(5000):
        await supervise(
            configured(budget={"total_s": 100, "grace_s": 20}),
            machine=machine,
            finish=hang,
            on_deadline=lambda: acted_at.append(trio.current_time()),
        )
    assert acted_at == [120]


async def test_the_deadline_restarts_unless_told_otherwise(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async def hang(_ending: Ending) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(5000):
        await supervise(configured(), machine=machine, finish=hang)
    assert machine.journal[-1] == "restart by sysrq"


async def test_the_watchdog_is_petted_while_work_advances(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.watchdog = SimulatedWatchdog()
    machine.makedumpfile.seconds = 100
    await collect(machine)
    assert machine.watchdog.pets == pytest.approx(50, abs=3)


async def test_the_watchdog_may_bite_where_nothing_advances(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async def hang(_ending: Ending) -> None:
        await trio.sleep_forever()

    machine.watchdog = SimulatedWatchdog()
    with trio.move_on_after(5000):
        await supervise(configured(), machine=machine, finish=hang)
    assert machine.watchdog.pets < 1000


async def test_a_failing_end_is_the_callers_to_see(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async def fail(_ending: Ending) -> None:
        raise LookupError("finish")

    with pytest.RaisesGroup(LookupError, flatten_subgroups=True, allow_unwrapped=True):
        await supervise(configured(), machine=machine, finish=fail)
    assert machine.leftovers() == []
    assert reason(machine) == f"{COMPLETE}\n"


class _Broken(SimulatedMachine):
    def splice(self, source: int, target: int, size_bytes: int, offset: int) -> int:
        raise ZeroDivisionError("unforeseen")


async def test_what_nobody_foresaw_costs_only_itself(tmp_path: Path, autojump_clock: MockClock) -> None:
    machine = _Broken(tmp_path / "disk")
    machine.mount()
    outcome = await _collect_in(100, machine)
    why = "collect: ZeroDivisionError: unforeseen"
    assert reason(machine) == f"{LOG_ONLY} (no kdump: {why})\n"
    assert outcome.record.warnings == (why,)
    assert machine.journal[-1] == "restart by sysrq"
