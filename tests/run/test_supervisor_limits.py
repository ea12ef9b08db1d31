"""Whole runs on a simulated machine, in virtual time: gate, budgets, and room for a dump."""

import pytest
import trio
from tests.simulated import (
    COMPLETE,
    DUMP,
    LOG,
    LOG_ONLY,
    RECORD,
    check,
    collect,
    crash_files,
    dump_file,
    reason,
)
from trio.testing import MockClock

from kdumpd.crashes.record import CrashRecord, Device, Log
from kdumpd.dump.verdict import Verdict
from kdumpd.testing import (
    SimulatedMachine,
    make_kdump,
)

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
    assert trio.current_time() == pytest.approx(30, abs=1)  # a quarter is the final phase's


async def test_the_total_budget_ends_the_wait_for_storage(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    await collect(simulated_machine, budget={"total_s": 40})
    assert simulated_machine.journal[-1] == "restart by sysrq"
    assert trio.current_time() == pytest.approx(30, abs=1)  # a quarter is the final phase's


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


def leave_dumps(machine: SimulatedMachine, *stamps: str, uptime_s: float | None = None) -> list[str]:
    """Leave older dumps in the crash folder, with records where an uptime is given; returns the names."""
    folder = machine.files() / "kcrashes"
    folder.mkdir()
    names = [f"kdump-{stamp}.dump" for stamp in stamps]
    for name in names:
        (folder / name).write_text("old")
    if uptime_s is None:
        return names
    for number, stamp in enumerate(stamps, 1):
        record = CrashRecord(
            stamp=stamp,
            sequence=number,
            lived_s=number * uptime_s,
            crash_time_s=None,
            device=Device(uptime_s=uptime_s),
            reason="",
            log=Log(name=None, size_bytes=0, tool=None),
            dump_name=f"kdump-{stamp}.dump",
            dump=Verdict(state="complete"),
        )
        (folder / f"crash-{stamp}.json").write_bytes(record.to_json())
    return [*names, *(f"crash-{stamp}.json" for stamp in stamps)]


FIVE_LATELY = [f"20261123T01{minute}00Z" for minute in (10, 15, 20, 25, 30)]
FIVE_LONG_AGO = [f"2025010{day}T000000Z" for day in range(1, 6)]


async def test_a_crash_loop_skips_the_dump(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    leave_dumps(machine, *FIVE_LATELY[-3:], uptime_s=600)
    await collect(machine)
    assert reason(machine) == f"{LOG_ONLY} (no kdump: crash loop: 3 dumps within 3600 s)\n"


async def test_a_crash_loop_costs_no_older_dump(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    left = leave_dumps(machine, *FIVE_LATELY, uptime_s=600)
    await collect(machine)
    assert crash_files(machine) == sorted([RECORD, LOG, *left])


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
