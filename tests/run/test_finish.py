"""The end of a run: what is said of the restart, and what is done before it, whatever hangs. Virtual time."""

import pytest
import trio
from trio.testing import MockClock

from kdumpd.config import Config
from kdumpd.crashes.record import CrashRecord, Log
from kdumpd.dump.verdict import NO_DUMP
from kdumpd.run.finish import FinishContext, Outcome, describe_only, describe_restart, restart_machine
from kdumpd.testing import SimulatedMachine

OUTCOME = Outcome(
    reason="kernel panic, nothing collected: test",
    record=CrashRecord(
        stamp="20261123T014039Z",
        crash_time_s=None,
        reason="kernel panic, nothing collected: test",
        log=Log(name=None, size_bytes=0, tool=None),
        dump_name=None,
        dump=NO_DUMP,
    ),
    complete=False,
)


class Said:
    """An ending, what was said in it, and where it moved the deadline to."""

    def __init__(self, machine: SimulatedMachine) -> None:
        self.lines: list[str] = []
        self.extended: list[float | None] = []
        self.ending = FinishContext(
            outcome=OUTCOME,
            config=Config(),
            machine=machine,
            say=self.lines.append,
            extend=self.extended.append,
        )


@pytest.mark.parametrize(
    ("timeout_s", "line"),
    [
        (None, "restart at once by sysrq (/proc/sys/kernel/panic cannot be read)"),
        (0, "stay here until someone restarts the machine (kernel.panic is 0)"),
        (-1, "restart at once by sysrq"),
        (1, "restart in 1 s by sysrq"),
        (300, "restart in 300 s by sysrq"),
    ],
)
def test_what_is_said(timeout_s: int | None, line: str) -> None:
    assert describe_restart(Config(), timeout_s) == line


async def test_the_deadline_waits_with_the_kernels_timeout(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.panic_timeout = 300
    said = Said(simulated_machine)
    await restart_machine(said.ending)
    assert said.extended == [315]
    assert trio.current_time() == 300


async def test_a_cancel_does_not_leave_a_file_system_dirty(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    simulated_machine.disk.slow_s = 5
    with trio.CancelScope() as scope:
        scope.cancel()
        await restart_machine(Said(simulated_machine).ending)
    assert simulated_machine.journal == ["unmount /persist", "sync", "restart by sysrq"]


async def test_a_disk_that_hangs_does_not_stop_the_restart(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    simulated_machine.disk.freeze()
    said = Said(simulated_machine)
    await restart_machine(said.ending)
    assert said.lines == ["sync hangs: going on without it after 60 s", "restart at once by sysrq"]
    assert simulated_machine.journal == ["restart by sysrq"]
    assert trio.current_time() == 60


async def test_only_a_description(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    simulated_machine.panic_timeout = 10
    said = Said(simulated_machine)
    await describe_only(said.ending)
    assert said.lines == ["without --no-reboot: sync, unmount /persist, restart in 10 s by sysrq"]
    assert simulated_machine.journal == []
