"""Whole runs on a simulated machine, in virtual time: what lands on disk, and in which order."""

import json

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
    crash_files,
    dump_file,
    reason,
)
from trio.testing import MockClock

from kdumpd.testing import (
    CRASH_TIME_S,
    SimulatedMachine,
    make_kdump,
)

# What lands on disk


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
        assert crash_files(machine) == [f".kdumpd-{DUMP}.1.tmp", LOG]
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
