"""The storage gate: when is persist ready to be written? A pure predicate, and the loop that waits.

The gate opens on events of the mount table; a slow re-scan covers an event that was lost. What it waits
for is told once for each change.
"""

import errno
from collections.abc import Callable
from typing import Final

import trio
from attrs import frozen

from kdumpd import config
from kdumpd.errors import KdumpError, StorageError, innermost, trouble
from kdumpd.host.folder import Folder, Space
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine
from kdumpd.host.mounts import Mount, MountTableError, find_mount
from kdumpd.host.threads import Worker
from kdumpd.host.uevents import Partition
from kdumpd.storage.changes import Ticks
from kdumpd.storage.volume import find_fault

RESCAN_S: Final = 5.0

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@frozen(kw_only=True)
class Storage:
    """Storage that is ready.

    Attributes:
        folder: the mount point, held open.
        mount: what is mounted there.
        space: the room on it when the gate opened.
    """

    folder: Folder
    mount: Mount
    space: Space

    def close(self) -> None:
        """Let go of it, so that it can be unmounted."""
        self.folder.close()


@frozen(kw_only=True)
class NotReady:
    """Storage that is not ready, and what is missing."""

    why: str


def judge(
    table: tuple[Mount, ...], partition: Partition | None, settings: config.StorageSettings
) -> Mount | NotReady:
    """Decide from the mount table whether storage is there; whether it can be written is for the probe."""
    mount = find_mount(table, settings.mountpoint)
    if mount is None:
        return NotReady(why=_not_mounted(partition, settings))
    fault = find_fault(mount, settings)
    return NotReady(why=fault.why) if fault else mount


def _not_mounted(partition: Partition | None, settings: config.StorageSettings) -> str:
    if partition is not None:
        return f"{partition.device} is there, {settings.mountpoint} is not mounted"
    if settings.partlabel:
        return f"no device labelled {settings.partlabel} yet, {settings.mountpoint} is not mounted"
    return f"{settings.mountpoint} is not mounted"


class Gate:
    """Waits until storage is ready.

    Args:
        settings: which storage, and what is asked of it.
        machine: where to look.
        tell: gets a line when what is missing changes.
        rescan_s: how often to look although nothing was reported.

    Attributes:
        missing: what storage was lacking when it was last looked at.
        storage: what was found; also when ``wait`` was cancelled just then. The caller closes it.
    """

    def __init__(
        self,
        settings: config.StorageSettings,
        *,
        machine: Machine,
        tell: Callable[[str], object],
        rescan_s: float = RESCAN_S,
    ) -> None:
        self.missing = "storage was not looked at yet"
        self.storage: Storage | None = None
        self._told: str | None = None
        self._probing: Mount | None = None
        self._unread_told = False
        self._settings = settings
        self._machine = machine
        self._worker = Worker(machine.on_disk)
        self._tell = tell
        self._rescan_s = rescan_s

    async def wait(self) -> Storage:
        """Return as soon as storage is ready. The caller bounds the wait; ``missing`` says why it lasted."""
        ticks = Ticks()
        async with trio.open_nursery() as nursery:
            # Watch first, then look: a change between the two is a tick, not a loss.
            await nursery.start(self._machine.watch_mounts, ticks.tick)
            source = await nursery.start(self._machine.watch_devices, ticks.tick)
            self._tell(f"waiting for {self._settings.mountpoint} (device events: {source})")
            await self._look_until_ready(ticks, nursery)
            nursery.cancel_scope.cancel()
        assert self.storage is not None
        return self.storage

    async def _look_until_ready(self, ticks: Ticks, nursery: trio.Nursery) -> None:
        while True:
            found = self._look()
            if isinstance(found, Mount) and self._probing is None:
                nursery.start_soon(self._probe_in_thread, found, ticks)
            elif isinstance(found, NotReady):
                self._report(found.why)
            with trio.move_on_after(self._rescan_s) as rescan:
                await ticks.wait()
            if self.storage is not None and self.storage.mount == self._look():
                return
            self._drop_storage()
            if rescan.cancelled_caught and self._probing is not None:
                self._report(f"{self._settings.mountpoint} is mounted, and writing to it hangs")

    def _drop_storage(self) -> None:
        """Let go of storage that was proven and is another by now."""
        if self.storage is not None:
            self.storage.close()
            self.storage = None

    def _report(self, why: str) -> None:
        self.missing = why
        if why != self._told:
            self._told = why
            self._tell(why)

    def _look(self) -> Mount | NotReady:
        partition = self._machine.partition(self._settings.partlabel) if self._settings.partlabel else None
        return judge(self._mounts(), partition, self._settings)

    async def _probe_in_thread(self, mount: Mount, ticks: Ticks) -> None:
        """Prove by writing that a mount is storage, however long that takes; tick if it is.

        If it is not, the next event or the next re-scan is soon enough for another try.
        """
        self._probing = mount
        self.missing = f"{self._settings.mountpoint} is mounted, and writing to it hangs"
        try:
            found = await self._worker.run(self._probe, mount, undo=_let_go)
        finally:
            self._probing = None
        if isinstance(found, Storage):
            self.storage = found
            ticks.tick()
        else:
            self._report(found.why)

    def _mounts(self) -> tuple[Mount, ...]:
        """The mount table; a line of it that cannot be read is passed over, which is said once."""
        try:
            return self._machine.mounts()
        except MountTableError as error:
            if not self._unread_told:
                self._unread_told = True
                self._tell(f"{error}: it is passed over")
            return error.others

    def _probe(self, mount: Mount) -> Storage | NotReady:
        try:
            folder = self._machine.open_mount(mount)
            return _prove(folder, mount)
        except StorageError as error:
            return NotReady(why=str(error))


def _let_go(found: Storage | NotReady) -> None:
    if isinstance(found, Storage):
        found.close()


def _prove(folder: Folder, mount: Mount) -> Storage | NotReady:
    """Prove by writing that a folder is storage. A full one is: retention makes room, waiting does not."""
    try:
        _probe(folder)
        return Storage(folder=folder, mount=mount, space=folder.space())
    except OSError as error:
        folder.close()
        return NotReady(why=f"{folder.path} cannot be written: {trouble(error)}")


def _probe(folder: Folder) -> None:
    try:
        folder.probe()
    except OSError as error:
        if error.errno not in _FULL:
            raise


async def wait_for_storage(
    settings: config.StorageSettings | None = None,
    *,
    tell: Callable[[str], object] = lambda _line: None,
    machine: Machine | None = None,
) -> Storage:
    """Wait until storage is mounted, of a right type, and can be written.

    The caller bounds the wait with a cancel scope; ``settings.wait_s`` is not looked at.

    Args:
        settings: which storage; /persist as EVE has it unless told otherwise.
        tell: gets a line when what is missing changes.
        machine: the machine to look at; a simulated one in tests.

    Returns:
        The storage, which the caller closes so that it can be unmounted.

    Raises:
        StorageError: the mount table cannot be watched or read.
    """
    gate = Gate(settings or config.StorageSettings(), machine=machine or LinuxMachine(), tell=tell)
    returned = False
    try:
        storage = await gate.wait()
        returned = True
        return storage
    except ExceptionGroup as group:  # the gate's nursery puts one around what it raises
        if isinstance(cause := innermost(group), KdumpError):
            raise cause from group
        raise
    finally:
        if gate.storage is not None and not returned:
            gate.storage.close()
