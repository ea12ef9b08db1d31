"""Changes of mounts and devices, as a loop over the state after each change.

A change is a tick: "look again". The state is read after the tick, never taken from it, so it is never stale.
Changes close together may be one round of the loop.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, Self, TypeVar

import trio

from kdumpd.host.background import background
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine
from kdumpd.host.mounts import Mount
from kdumpd.host.uevents import Partition

T = TypeVar("T")


class Ticks:
    """A signal that says "look again". Those that nobody has received yet are one."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[None](1)

    def tick(self) -> None:
        """Send it; never waits."""
        with suppress(trio.WouldBlock):
            self._send.send_nowait(None)

    async def wait(self) -> None:
        """Wait for it, or take one that is pending."""
        await self._receive.receive()


class Changes(Generic[T]):
    """The state as it is now, then after each change; for ``async for``.

    Attributes:
        source: where the events come from: ``mountinfo``, or that of device events: ``udev``, ``kernel``,
            ``netlink``, or ``none``, with which no change is ever seen.
    """

    def __init__(self, source: str, ticks: Ticks, read: Callable[[], T]) -> None:
        self.source = source
        self._ticks = ticks
        self._read = read
        ticks.tick()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await self._ticks.wait()
        return self._read()


@asynccontextmanager
async def mount_changes(*, machine: Machine | None = None) -> AsyncIterator[Changes[tuple[Mount, ...]]]:
    """Watch the mount table.

    ::

        async with kdumpd.mount_changes() as changes:
            async for table in changes:
                ...

    Args:
        machine: the machine to watch; a simulated one in tests.

    Yields:
        The mount tables: the first at once, the next after a change.

    Raises:
        StorageError: the table cannot be watched or read.
    """
    machine, ticks = machine or LinuxMachine(), Ticks()
    async with background() as nursery:
        await nursery.start(machine.watch_mounts, ticks.tick)
        yield Changes("mountinfo", ticks, machine.mounts)


@asynccontextmanager
async def device_changes(
    label: str, *, machine: Machine | None = None
) -> AsyncIterator[Changes[Partition | None]]:
    """Watch for the partition with a label.

    Args:
        label: the partition's label, as in the partition table.
        machine: the machine to watch; a simulated one in tests.

    Yields:
        The partition, or None while there is none: at once, and after every change of any block device.
    """
    machine, ticks = machine or LinuxMachine(), Ticks()
    async with background() as nursery:
        source = await nursery.start(machine.watch_devices, ticks.tick)
        yield Changes(source, ticks, lambda: machine.partition(label))
