"""Mounts and devices as a loop: what there is at first, and after each change. Virtual time."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import kdumpd
from kdumpd.testing import SimulatedMachine


async def test_the_table_at_first_and_after_each_change(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine = simulated_machine

    async def boot() -> None:
        for change in (machine.mount, lambda: machine.remount(read_only=True), machine.unmount):
            await trio.sleep(1)
            change()

    seen = []
    async with trio.open_nursery() as nursery, kdumpd.mount_changes(machine=machine) as changes:
        nursery.start_soon(boot)
        async for table in changes:
            mount = kdumpd.find_mount(table, "/persist")
            seen.append((trio.current_time(), mount and mount.read_only))
            if len(seen) == 4:
                break
    assert changes.source == "mountinfo"
    assert seen == [(0, None), (1, False), (2, True), (3, None)]
    assert machine.leftovers() == []


async def test_changes_that_nobody_waited_for_are_one(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async with kdumpd.mount_changes(machine=simulated_machine) as changes:
        await anext(changes)
        for path in ("/a", "/b", "/c"):
            simulated_machine.mount(path)
        assert len(await anext(changes)) == 4
        with trio.move_on_after(100) as wait:
            await anext(changes)
        assert wait.cancelled_caught


async def test_the_partition_and_none_when_it_is_gone(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async with kdumpd.device_changes("P3", machine=simulated_machine) as changes:
        assert changes.source == "simulated"
        assert await anext(changes) is None
        simulated_machine.attach_partition()
        assert await anext(changes) == kdumpd.Partition(device="/dev/vdb1", label="P3")
        simulated_machine.detach_partition()
        assert await anext(changes) is None


async def test_an_error_of_the_block_comes_out_as_it_is(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with kdumpd.mount_changes(machine=simulated_machine):
            raise LookupError("mine")
    assert simulated_machine.leftovers() == []


async def test_it_can_be_cancelled(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    async def follow() -> None:
        async with kdumpd.mount_changes(machine=simulated_machine) as changes:
            async for _ in changes:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        assert simulated_machine.leftovers() == ["mount watcher"]
        nursery.cancel_scope.cancel()
    assert simulated_machine.leftovers() == []


async def test_the_real_mount_table() -> None:
    async with kdumpd.mount_changes() as changes:
        assert kdumpd.find_mount(await anext(changes), "/") is not None


async def test_real_devices() -> None:
    async with kdumpd.device_changes("no partition has this label") as changes:
        assert await anext(changes) is None
        assert changes.source in {"udev", "kernel", "netlink", "none"}
