"""The real machine: Linux, through the files, mounts, events, programs and consoles that we see."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn, TypeVar

import trio

from kdumpd.errors import StorageError
from kdumpd.host import console, reboot, watchdog
from kdumpd.host.consoles import find_consoles
from kdumpd.host.folder import Folder, splice_bytes
from kdumpd.host.machine import Deadline, Machine, Tick
from kdumpd.host.mountevents import watch_mounts
from kdumpd.host.mounts import Mount, read_mounts
from kdumpd.host.process import Child, open_child
from kdumpd.host.uevents import Partition, find_partition, watch_devices
from kdumpd.vmcore.headers import Vmcoreinfo, read_vmcoreinfo

T = TypeVar("T")

# When to try again where the kernel has no memory for a thread.
_THREAD_AGAIN_S: Final = 0.25


class LinuxMachine(Machine):
    """The machine that this process runs on."""

    stream_wait_s = 0.25

    def mounts(self) -> tuple[Mount, ...]:
        """The mount table as it is now."""
        return read_mounts()

    def partition(self, label: str) -> Partition | None:
        """The block device with this partition label, if the kernel knows one."""
        return find_partition(label)

    async def watch_mounts(  # noqa: ASYNC128 the function behind it calls started()
        self, tick: Tick, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every change of the mount table."""
        await watch_mounts(tick, task_status=task_status)

    async def watch_devices(  # noqa: ASYNC128 the function behind it calls started()
        self, tick: Tick, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every block device event."""
        await watch_devices(tick, task_status=task_status)

    async def on_disk(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Make the call in a thread; a cancel leaves it behind there."""
        return await _in_thread(partial(call, *args, **kwargs))

    async def compute(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Make the call in a thread; a cancel leaves it behind there."""
        return await _in_thread(partial(call, *args, **kwargs))

    def open_mount(self, mount: Mount) -> Folder:
        """Open the folder that this very mount is mounted on."""
        folder = Folder.open(mount.mountpoint)
        if folder.mount_id() != mount.mount_id:
            folder.close()
            raise StorageError(f"{mount.mountpoint} changed while it was opened")
        return folder

    def open_folder(self, path: str) -> Folder:
        """Open a directory."""
        return Folder.open(path)

    def vmcoreinfo(self, path: str) -> Vmcoreinfo:
        """The VMCOREINFO note of the crashed kernel."""
        return read_vmcoreinfo(path)

    async def spawn(self, argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
        """Start a program."""
        return await open_child(argv, stdout=stdout, pass_fds=pass_fds)

    def splice(self, source: int, target: int, size_bytes: int, offset: int) -> int:
        """Move bytes from a pipe into a file; see ``folder.splice_bytes``."""
        return splice_bytes(source, target, size_bytes, offset)

    def consoles(self) -> tuple[str, ...]:
        """The files of the consoles that the kernel writes to."""
        return find_consoles()

    async def write_line(self, target: str, line: str) -> None:
        """Write one line to a console target."""
        await _in_thread(partial(console.write_line, target, line))

    def panic_timeout_s(self, path: str) -> int | None:
        """The kernel's ``panic`` setting in seconds."""
        return reboot.panic_timeout_s(path)

    def sync(self) -> None:
        """Write out every file system."""
        os.sync()

    def make_clean(self, mountpoint: str) -> str | None:
        """Make a file system read-only and unmount it."""
        return reboot.make_clean(mountpoint)

    def open_watchdog(self, device: str) -> int:
        """Open the hardware watchdog; see ``watchdog.open_watchdog``."""
        return watchdog.open_watchdog(device)

    def arm_deadline(self, seconds: float, act: Callable[[], object]) -> Deadline:
        """Start the thread that acts after so many seconds whatever the event loop does."""
        return reboot.DeadlineThread(seconds, act)

    def restart(self, method: str) -> str | None:
        """Restart the machine; it returns only when that failed, with the reason."""
        return reboot.restart(method)


async def _in_thread(call: Callable[[], T]) -> T:
    """Make a call in a thread, as soon as the kernel gives us one. The caller bounds the wait."""
    begun = False

    def begin() -> T:
        nonlocal begun
        begun = True
        return call()

    while True:
        try:
            return await trio.to_thread.run_sync(begin, abandon_on_cancel=True)
        except RuntimeError:
            # "can't start new thread": clone(2) gave ENOMEM or EAGAIN. Memory comes back, such as when the
            # OOM killer has ended makedumpfile; and trio keeps threads that are idle.
            if begun:
                raise
        await trio.sleep(_THREAD_AGAIN_S)
