"""What kdumpd asks of the machine it runs on: the one seam between its logic and the world.

``Machine`` is the real one. ``kdumpd.testing`` has a simulated one for tests, with scripted mounts,
disks, programs and consoles.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn, Protocol, TypeVar

import trio

from kdumpd.errors import StorageError
from kdumpd.host import console, reboot, watchdog
from kdumpd.host.folder import Folder, splice_bytes
from kdumpd.host.mountevents import watch_mounts
from kdumpd.host.mounts import Mount, read_mounts
from kdumpd.host.process import Child, open_child
from kdumpd.host.uevents import Partition, find_partition, watch_devices
from kdumpd.vmcore.headers import Vmcoreinfo, read_vmcoreinfo

T = TypeVar("T")
Tick = Callable[[], None]


class Deadline(Protocol):
    """A deadline that was armed."""

    def move(self, seconds: float | None) -> None:
        """Set it to so many seconds from now; None is never."""


class Machine:
    """The machine that this process runs on.

    Attributes:
        stream_wait_s: for how long a turn of the stream waits in its thread for makedumpfile. In a
            simulation, where makedumpfile is a task of the same event loop, not at all.
    """

    stream_wait_s: float = 0.25

    def mounts(self) -> tuple[Mount, ...]:
        """The mount table as it is now."""
        return read_mounts()

    def partition(self, label: str) -> Partition | None:
        """The block device with this partition label, if the kernel knows one."""
        return find_partition(label)

    async def watch_mounts(  # noqa: ASYNC128 the function behind it calls started()
        self, tick: Tick, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every change of the mount table; for ``nursery.start``."""
        await watch_mounts(tick, task_status=task_status)

    async def watch_devices(  # noqa: ASYNC128 the function behind it calls started()
        self, tick: Tick, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every block device event; ``nursery.start`` returns the source's name."""
        await watch_devices(tick, task_status=task_status)

    async def in_thread(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Run a call that can block on a disk; a cancel leaves it behind in its thread."""
        return await trio.to_thread.run_sync(partial(call, *args, **kwargs), abandon_on_cancel=True)

    def open_mount(self, mount: Mount) -> Folder:
        """Open the folder that this very mount is mounted on. Blocking.

        Raises:
            StorageError: it is not there, or something else is mounted there by now.
        """
        folder = Folder.open(mount.mountpoint)
        if folder.mount_id() != mount.mount_id:
            folder.close()
            raise StorageError(f"{mount.mountpoint} changed while it was opened")
        return folder

    def open_folder(self, path: str) -> Folder:
        """Open a directory. Blocking."""
        return Folder.open(path)

    def vmcoreinfo(self, path: str) -> Vmcoreinfo:
        """The VMCOREINFO note of the crashed kernel. Blocking."""
        return read_vmcoreinfo(path)

    async def spawn(self, argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
        """Start a program; its standard error is a pipe, and it gets ``pass_fds`` with the same numbers.

        Raises:
            DumpError: it is missing or cannot be executed.
        """
        return await open_child(argv, stdout=stdout, pass_fds=pass_fds)

    def splice(self, source: int, target: int, size_bytes: int, offset: int) -> int:
        """Move bytes from a pipe into a file on storage. Blocking; see ``folder.splice_bytes``."""
        return splice_bytes(source, target, size_bytes, offset)

    async def write_line(self, target: str, line: str) -> None:
        """Write one line to a console target."""
        await self.in_thread(console.write_line, target, line)

    def panic_timeout_s(self, path: str) -> int | None:
        """The kernel's ``panic`` setting in seconds; None when it cannot be read."""
        return reboot.panic_timeout_s(path)

    def sync(self) -> None:
        """Write out every file system. Blocking."""
        os.sync()

    def make_clean(self, mountpoint: str) -> str | None:
        """Make a file system read-only and unmount it; returns what went wrong. Blocking."""
        return reboot.make_clean(mountpoint)

    def open_watchdog(self, device: str) -> int:
        """Open the hardware watchdog; see ``watchdog.open_watchdog``."""
        return watchdog.open_watchdog(device)

    def arm_deadline(self, seconds: float, act: Callable[[], object]) -> Deadline:
        """Start the thread that acts after so many seconds whatever the event loop does."""
        return reboot.DeadlineThread(seconds, act)

    def restart(self, method: str) -> str | None:
        """Restart the machine; on the real one it returns only when that failed, with the reason.

        A simulated machine returns None when it was restarted.
        """
        return reboot.restart(method)
