"""A disk that hangs in the middle of any of its calls and comes back: what was told and what stands agree."""

import json
from pathlib import Path

import pytest
import trio
from tests.simulated import COMPLETE, DUMP, LOG, RECORD, check, configured, reason
from trio.testing import MockClock, wait_all_tasks_blocked

from kdumpd.run.finish import Outcome
from kdumpd.run.supervisor import supervise
from kdumpd.testing import SimulatedMachine

pytestmark = pytest.mark.slow

SHORT_LOG = b"[    7.000000] Kernel panic - not syncing: test\n"
STALL_S = 60
GRACE_S = 15


def run(folder: Path, *, freeze_at: int, back_after_s: float, cancel_at_s: float = 10**6) -> SimulatedMachine:
    """One run on a disk that hangs from one of its touches on, and comes back."""
    machine = SimulatedMachine(folder)
    machine.log = SHORT_LOG
    outcomes: list[Outcome] = []
    hung: list[float] = []

    async def thaw() -> None:
        while not machine.disk.frozen:
            await trio.sleep(0.1)
        hung.append(trio.current_time())
        await trio.sleep(back_after_s)
        machine.disk.thaw()

    async def main() -> None:
        machine.mount()
        machine.makedumpfile.seconds = 5
        machine.disk.freeze(after_touches=freeze_at)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(thaw)
            with trio.move_on_after(cancel_at_s):
                outcomes.append(await supervise(configured(), machine=machine))
            if not outcomes:
                assert_in_time(machine, cancel_at_s)
            nursery.cancel_scope.cancel()
        machine.disk.thaw()
        await wait_all_tasks_blocked()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert_agreement(machine, outcomes)
    assert bool(hung) == (freeze_at < machine.disk.touches)
    return machine


def assert_in_time(machine: SimulatedMachine, cancel_at_s: float) -> None:
    """After a signal the verdict comes within the grace, and the restart within as long again."""
    said = [line.at_s for line in machine.console.written if line.text.startswith("kdumpd: kernel panic, ")]
    assert len(said) == 1
    assert said[0] <= cancel_at_s + GRACE_S + 0.1
    assert machine.deadline is not None
    assert trio.current_time() <= cancel_at_s + 2 * GRACE_S or machine.deadline.acted
    assert machine.deadline.at_s <= cancel_at_s + 2 * GRACE_S


def assert_agreement(machine: SimulatedMachine, outcomes: list[Outcome]) -> None:
    dump = machine.files() / "kcrashes" / DUMP
    told = reason(machine) or ""
    assert dump.exists() == told.startswith(COMPLETE), (told, dump.exists())
    if dump.exists():
        assert check(dump).complete == ("incomplete" not in told)
    if LOG in told:
        assert (machine.files() / "kcrashes" / LOG).read_bytes() == SHORT_LOG
    record = machine.files() / "kcrashes" / RECORD
    if record.exists():
        assert json.loads(record.read_text())["reason"] == told.rstrip("\n")
    for outcome in outcomes:
        if told and outcome.complete:
            assert outcome.reason == told.rstrip("\n")


def touches(folder: Path) -> int:
    return run(folder, freeze_at=10**6, back_after_s=0).disk.touches


def test_a_pause_of_35_s_anywhere_costs_35_s_and_nothing_else(tmp_path: Path) -> None:
    number = touches(tmp_path / "whole")
    assert number > 30
    for at in range(number):
        machine = run(tmp_path / str(at), freeze_at=at, back_after_s=35)
        assert machine.journal[-1] == "restart by sysrq"
        assert reason(machine) == f"{COMPLETE}\n", at
        assert (machine.files() / "kcrashes" / RECORD).exists(), at


@pytest.mark.parametrize("back_after_s", [STALL_S - 1, STALL_S + 1, 2 * STALL_S + 1, 10**6])
def test_whatever_it_costs_what_was_told_is_true(tmp_path: Path, back_after_s: float) -> None:
    for at in range(touches(tmp_path / "whole")):
        run(tmp_path / str(at), freeze_at=at, back_after_s=back_after_s)


@pytest.mark.parametrize("cancel_at_s", [0.5, 3, 20])
def test_a_signal_on_a_disk_that_hangs(tmp_path: Path, cancel_at_s: float) -> None:
    for at in range(touches(tmp_path / "whole")):
        for back_after_s in (40, 10**6):
            folder = tmp_path / f"{at}-{back_after_s}"
            run(folder, freeze_at=at, back_after_s=back_after_s, cancel_at_s=cancel_at_s)
