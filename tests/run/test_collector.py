"""The panic is looked for beside the event loop; neither a cancel nor a hang of that costs the log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from tests.simulated import DUMP, LOG, RECORD, collect, crash_files
from trio.testing import MockClock

from kdumpd.dmesg.panic import find_panic
from kdumpd.run.supervisor import BEGIN
from kdumpd.testing import SimulatedMachine

T = TypeVar("T")


class SlowSearch(SimulatedMachine):
    """A machine that takes some time to find the panic in a log."""

    search_s = 2.0

    async def compute(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        if call == find_panic:
            await trio.sleep(self.search_s)
        return await super().compute(call, *args, **kwargs)

    def said_at_s(self, text: str) -> float:
        return next(line.at_s for line in self.console.written if text in line.text)

    def cause(self) -> object:
        return json.loads((self.files() / "kcrashes" / RECORD).read_text())["cause"]


@pytest.fixture
def machine(tmp_path: Path) -> SlowSearch:
    machine = SlowSearch(tmp_path)
    machine.mount()
    return machine


async def test_others_go_on_meanwhile(machine: SlowSearch, autojump_clock: MockClock) -> None:
    assert (await collect(machine)).complete
    assert machine.said_at_s("/persist is ready") == 0
    assert machine.said_at_s(BEGIN) == machine.search_s


async def test_a_cancel_costs_neither_log_nor_cause(machine: SlowSearch, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as run:
        await collect(machine)
    assert run.cancelled_caught
    assert crash_files(machine) == [RECORD, LOG]
    assert machine.cause() == "null-dereference"


async def test_a_search_that_hangs_costs_the_cause_alone(
    machine: SlowSearch, autojump_clock: MockClock
) -> None:
    machine.search_s = float("inf")
    assert (await collect(machine)).complete
    assert crash_files(machine) == [RECORD, LOG, DUMP]
    assert machine.cause() == "unknown"
    assert machine.said_at_s("looking for the panic in the log took longer than 15 s") == 15


class FailingSearch(SlowSearch):
    """A machine on which a log makes the analysis fail."""

    async def compute(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        if call == find_panic:
            raise RecursionError("a log that nobody thought of")
        return await super().compute(call, *args, **kwargs)


async def test_a_log_that_the_analysis_fails_on_costs_the_cause_alone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine = FailingSearch(tmp_path)
    machine.mount()
    assert (await collect(machine)).complete
    assert crash_files(machine) == [RECORD, LOG, DUMP]
    assert machine.cause() == "unknown"
    assert machine.said_at_s("failed: RecursionError: a log that nobody thought of") == 0
