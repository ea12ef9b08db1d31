"""Whole runs on a simulated machine, in virtual time: the console, and how a run ends."""

import json
import re

import pytest
import trio
from tests.simulated import (
    COMPLETE,
    RECORD,
    collect,
    configured,
    reason,
)
from trio.testing import MockClock

from kdumpd.run.finish import FinishContext, describe_only, restart_machine
from kdumpd.run.supervisor import BEGIN, END, supervise
from kdumpd.testing import (
    SimulatedMachine,
    SimulatedWatchdog,
)

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
    assert [line for line in machine.console.lines() if "read-only" in line or "next boot" in line] == [
        "kdumpd: /persist cannot be made read-only: Device or resource busy",
        "kdumpd: the next boot will find it as after a power cut: what was collected is there",
    ]
    assert machine.journal[-1] == "restart by sysrq"


async def test_a_sync_that_hangs_is_left(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    async def freeze_then_restart(ending: FinishContext) -> None:
        machine.disk.freeze()
        await restart_machine(ending)

    await supervise(configured(), machine=machine, finish=freeze_then_restart)
    assert "kdumpd: sync hangs: going on without it after 60 s" in machine.console.lines()
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
    async def hang(_ending: FinishContext) -> None:
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
    async def hang(_ending: FinishContext) -> None:
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
    async def hang(_ending: FinishContext) -> None:
        await trio.sleep_forever()

    machine.watchdog = SimulatedWatchdog()
    with trio.move_on_after(5000):
        await supervise(configured(), machine=machine, finish=hang)
    assert machine.watchdog.pets < 1000


async def test_a_failing_end_is_the_callers_to_see(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async def fail(_ending: FinishContext) -> None:
        raise LookupError("finish")

    with pytest.RaisesGroup(LookupError, flatten_subgroups=True, allow_unwrapped=True):
        await supervise(configured(), machine=machine, finish=fail)
    assert machine.leftovers() == []
    assert reason(machine) == f"{COMPLETE}\n"


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
