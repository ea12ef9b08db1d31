"""Changes of mounts and devices, as a loop over what there is after each of them.

A change is a tick: "look again". What the loop gets is read after the tick, never taken from it, so that it
is never stale; changes close together may be one turn of the loop.
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
    """A signal that says "look again". Two that nobody has heard yet are one."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[None](1)

    def tick(self) -> None:
        """Say it; never waits."""
        with suppress(trio.WouldBlock):
            self._send.send_nowait(None)

    async def wait(self) -> None:
        """Wait until it is said, unless it was said already."""
        await self._receive.receive()


class Changes(Generic[T]):
    """What there is, at first as it is now and then after each change; for ``async for``.

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
