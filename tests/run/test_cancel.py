"""``supervise`` cancelled at every single checkpoint: nothing leaks, and what is on disk is true."""

import re
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from tests.simulated import COMPLETE, DUMP, LOG, LOG_ONLY, check, configured, open_descriptors, reason
from trio.testing import MockClock, wait_all_tasks_blocked

import kdumpd
from kdumpd.config import Config
from kdumpd.testing import SimulatedMachine

pytestmark = pytest.mark.slow

# Kept short, so that a run has few lines to show.
SHORT_LOG = b"[    7.000000] Kernel panic - not syncing: test\n"


class CancelAt(trio.abc.Instrument):
    """Cancels a task when it and its children have come to so many checkpoints together.

    Attributes:
        checkpoints: how many they have come to.
    """

    def __init__(self, number: int | None) -> None:
        self.checkpoints = 0
        self.scope = trio.CancelScope()
        self._number = number
        self._root: trio.lowlevel.Task | None = None

    def watch(self) -> None:
        """Count from here on: the checkpoints of the current task and its children."""
        self._root = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._root is not None and self._is_below(task):
            self.checkpoints += 1
            if self.checkpoints == self._number:
                self.scope.cancel()

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        if task is self._root:
            self._root = None

    def _is_below(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task is not self._root:
            task = task.parent_nursery.parent_task if task.parent_nursery else None
        return task is not None


def storage_comes_soon(machine: SimulatedMachine) -> None:
    async def boot() -> None:
        await trio.sleep(1)
        machine.attach_partition()
        await trio.sleep(1)
        machine.mount()

    trio.lowlevel.spawn_system_task(boot)
    machine.makedumpfile.seconds = 7


def storage_is_there(machine: SimulatedMachine) -> None:
    machine.mount()


def storage_is_slow(machine: SimulatedMachine) -> None:
    machine.mount()
    machine.disk.slow_s = 0.5


def storage_freezes(machine: SimulatedMachine) -> None:
    machine.mount()
    machine.disk.freeze(after_bytes=100000)


def storage_does_not_come(_machine: SimulatedMachine) -> None:
    pass


def the_dump_stalls(machine: SimulatedMachine) -> None:
    machine.mount()
    machine.makedumpfile.fail("dump", "stall", at=0.5)


def the_dump_fails(machine: SimulatedMachine) -> None:
    machine.mount()
    machine.makedumpfile.fail("dump", "exit", at=0.5)


def a_restart_waits(machine: SimulatedMachine) -> None:
    machine.mount()
    machine.panic_timeout = 10


SCENARIOS = [
    storage_comes_soon,
    storage_is_there,
    storage_is_slow,
    storage_freezes,
    storage_does_not_come,
    the_dump_stalls,
    the_dump_fails,
    a_restart_waits,
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cancelled_at_every_checkpoint(scenario: Callable[[SimulatedMachine], None], tmp_path: Path) -> None:
    config = configured(storage={"wait_s": 12}, dump={"stall_s": 4})
    checkpoints = run_once(scenario, config, tmp_path / "whole", cancel_at=None)
    assert checkpoints > 50
    for number in range(1, checkpoints + 1):
        run_once(scenario, config, tmp_path / str(number), cancel_at=number)


def run_once(
    scenario: Callable[[SimulatedMachine], None], config: Config, folder: Path, *, cancel_at: int | None
) -> int:
    """Run a scenario and check what is left of it; returns how many checkpoints it had."""
    machine = SimulatedMachine(folder)
    machine.log = SHORT_LOG
    instrument = CancelAt(cancel_at)

    async def call() -> None:
        scenario(machine)
        await kdumpd.supervise(config, machine=machine)

    run_cancelled(machine, call, instrument)
    assert_true(machine)
    assert machine.journal.count("restart by sysrq") == 1 or machine.panic_timeout != -1
    return instrument.checkpoints


def run_cancelled(
    machine: SimulatedMachine, call: Callable[[], Awaitable[object]], instrument: CancelAt
) -> None:
    """Run a call under the instrument and see that it leaves nothing behind."""
    threads = threading.active_count()

    async def watched() -> None:
        with instrument.scope:
            instrument.watch()
            await call()

    async def main() -> None:
        before = open_descriptors()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched)
        machine.disk.thaw()
        await wait_all_tasks_blocked()
        assert machine.leftovers() == []
        assert open_descriptors() <= before
        assert threading.active_count() <= threads

    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[instrument])


def assert_true(machine: SimulatedMachine) -> None:
    """Hold what the reason files say against what is there."""
    files = {str(file.relative_to(machine.files())) for file in machine.files().rglob("*") if file.is_file()}
    assert not [name for name in files if name.endswith(".tmp")], files
    told = reason(machine)
    if told is None:
        assert files == set()
        assert not machine.mounts()[1:]
        return
    assert {"boot-reason", "reboot-stack"} <= files
    dump = machine.files() / "kcrashes" / DUMP
    log = machine.files() / "kcrashes" / LOG
    if match := re.fullmatch(rf"{COMPLETE}(?: \(incomplete: (.*)\))?\n", told):
        assert check(dump).complete == (match[1] is None)
        assert log.read_bytes() == SHORT_LOG
    elif re.fullmatch(rf"{LOG_ONLY} \(no kdump: (.*)\)\n", told):
        assert not dump.exists()
        assert log.read_bytes() == SHORT_LOG
    else:
        assert re.fullmatch(r"kernel panic, nothing collected: (.*)\n", told)
        assert not dump.exists()
        assert not log.exists()


async def wait_for_storage(machine: SimulatedMachine) -> None:
    storage = await kdumpd.wait_for_storage(machine=machine)
    storage.close()


async def take_dump(machine: SimulatedMachine) -> None:
    await kdumpd.capture_dump("/persist/my.dump", machine=machine)


async def follow_mounts(machine: SimulatedMachine) -> None:
    async with kdumpd.mount_changes(machine=machine) as mounts:
        await anext(mounts)
        async with kdumpd.device_changes("P3", machine=machine) as devices:
            await anext(devices)


async def commit(machine: SimulatedMachine) -> None:
    await kdumpd.commit_file("/persist/state", b"1", machine=machine)


@pytest.mark.parametrize("part", [wait_for_storage, take_dump, follow_mounts, commit])
def test_a_part_cancelled_at_every_checkpoint(
    part: Callable[[SimulatedMachine], Awaitable[None]], tmp_path: Path
) -> None:
    number, checkpoints = 0, 1
    while number <= checkpoints:
        machine = SimulatedMachine(tmp_path / str(number))
        machine.mount()
        instrument = CancelAt(number or None)
        run_cancelled(machine, partial(part, machine), instrument)
        assert not [file for file in machine.files().iterdir() if file.name.endswith(".tmp")]
        checkpoints = checkpoints if number else instrument.checkpoints
        number += 1
    assert checkpoints > 1
