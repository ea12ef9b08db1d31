"""The one clock: its walls, what a step is allowed, and the sum of the worst case. Virtual time."""

import pytest
import trio
from tests.simulated import configured
from trio.testing import MockClock

from kdumpd.config import BudgetSettings
from kdumpd.run.clock import Clock
from kdumpd.run.supervisor import supervise
from kdumpd.testing import SimulatedMachine


def clock(total_s: float = 1800, grace_s: float = 15) -> Clock:
    return Clock(BudgetSettings(total_s=total_s, grace_s=grace_s))


@pytest.mark.parametrize(
    ("total_s", "grace_s", "walls"),
    [(1800, 15, (1785, 1792.5, 1800, 1815)), (40, 15, (30, 36.25, 42.5, 55)), (4, 15, (3, 7, 11, 19))],
)
async def test_the_walls(
    total_s: float, grace_s: float, walls: tuple[float, ...], autojump_clock: MockClock
) -> None:
    of_run = clock(total_s, grace_s)
    found = (of_run.budget.deadline, of_run.seal_s(), of_run.settle_s(), of_run.end)
    assert found == pytest.approx(walls)


async def test_a_signal_moves_both_walls(autojump_clock: MockClock) -> None:
    of_run = clock()
    await trio.sleep(100)
    of_run.cut()
    assert (of_run.budget.deadline, of_run.end) == (100, 130)
    assert (of_run.seal_s(), of_run.settle_s()) == (7.5, 15)
    await trio.sleep(5)
    of_run.cut()
    assert (of_run.budget.deadline, of_run.end) == (100, 130)


async def test_a_step_is_allowed_what_it_asked_for_and_no_more(autojump_clock: MockClock) -> None:
    of_run = clock()
    await trio.sleep(20)
    allowed = [of_run.allowed]
    with of_run.step(60) as bound:
        await trio.sleep(59)
        allowed.append(of_run.allowed)
        await trio.sleep(1000)
    assert bound.cancelled_caught
    assert trio.current_time() == 80
    assert [*allowed, of_run.allowed] == [False, True, False]


async def test_no_step_is_allowed_more_than_the_run(autojump_clock: MockClock) -> None:
    of_run = clock(total_s=40)
    of_run.allow(10**6)
    await trio.sleep(54)
    allowed = of_run.allowed
    await trio.sleep(2)
    assert (allowed, of_run.allowed) == (True, False)


@pytest.mark.parametrize("freeze_at", range(0, 60, 3))
async def test_the_worst_case_is_within_total_and_grace(
    simulated_machine: SimulatedMachine, freeze_at: int, autojump_clock: MockClock
) -> None:
    """A disk that hangs for ever, from any of its calls on, with every other step as slow as it may be."""
    machine = simulated_machine
    machine.mount()
    machine.makedumpfile.seconds = 10**5
    machine.disk.freeze(after_touches=freeze_at)
    settings = configured(budget={"total_s": 300, "grace_s": 15})
    await supervise(settings, machine=machine)
    assert machine.journal[-1].startswith("restart")
    assert trio.current_time() <= 300 + 15


async def test_an_event_loop_that_was_starved_finds_its_share_of_the_final_phase(
    autojump_clock: MockClock,
) -> None:
    of_run = clock(total_s=60)
    await trio.sleep(52)  # the first wall was at 45
    assert (of_run.seal_s(), of_run.settle_s()) == pytest.approx((23 / 4, 23 / 2))
    await trio.sleep(3)
    assert of_run.seal_s() == pytest.approx(23 / 4 - 3)
