"""What kdumpd asks of the machine it runs on: the one seam between its logic and the world.

``Machine`` is the interface. ``linux.LinuxMachine`` is the real one; ``kdumpd.testing`` has a simulated one
for tests, with scripted mounts, disks, programs and consoles. Neither inherits the other: a simulation
that forgets a method cannot be constructed, and never acts on the host.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol, TypeVar

import trio

from kdumpd.host.folder import Folder
from kdumpd.host.mounts import Mount
from kdumpd.host.process import Child
from kdumpd.host.uevents import Partition
from kdumpd.vmcore.headers import Vmcoreinfo

T = TypeVar("T")
Tick = Callable[[], None]


class Deadline(Protocol):
    """A deadline that was armed."""

    def move(self, seconds: float | None) -> None:
        """Set it to so many seconds from now; None is never, until it is moved again."""

    def close(self) -> None:
        """Let it never act any more."""


class Machine(ABC):
    """What kdumpd asks of a machine.

    Attributes:
        stream_wait_s: for how long a step of the stream waits in its thread for makedumpfile. In a
            simulation, where makedumpfile is a task of the same event loop, not at all.
    """

    stream_wait_s: float = 0

    @abstractmethod
    def mounts(self) -> tuple[Mount, ...]:
        """The mount table as it is now.

        Raises:
            StorageError: it cannot be read.
        """

    @abstractmethod
    def partition(self, label: str) -> Partition | None:
        """The block device with this partition label, if the kernel knows one."""

    @abstractmethod
    async def watch_mounts(
        self, tick: Tick, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every change of the mount table; for ``nursery.start``.

        Raises:
            StorageError: the table cannot be watched.
        """

    @abstractmethod
    async def watch_devices(
        self, tick: Tick, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every block device event; ``nursery.start`` returns the source's name."""

    @abstractmethod
    async def on_disk(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Make a call that can block on a disk; a cancel leaves it behind."""

    @abstractmethod
    async def compute(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Make a call that takes a while and touches no disk; a cancel leaves it behind."""

    @abstractmethod
    def open_mount(self, mount: Mount) -> Folder:
        """Open the folder that this very mount is mounted on. Blocking.

        Raises:
            StorageError: it is not there, or something else is mounted there by now.
        """

    @abstractmethod
    def open_folder(self, path: str) -> Folder:
        """Open a directory. Blocking.

        Raises:
            StorageError: it is not there, or no directory.
        """

    @abstractmethod
    def vmcoreinfo(self, path: str) -> Vmcoreinfo:
        """The VMCOREINFO note of the crashed kernel. Blocking.

        Raises:
            FormatError: there is none.
        """

    @abstractmethod
    async def spawn(self, argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
        """Start a program; its standard error is a pipe, and it gets ``pass_fds`` with the same numbers.

        Raises:
            DumpError: it is missing or cannot be executed.
        """

    @abstractmethod
    def splice(self, source: int, target: int, size_bytes: int, offset: int) -> int:
        """Move up to so many bytes from a pipe to an offset in a file; returns how many. Blocking."""

    @abstractmethod
    def consoles(self) -> tuple[str, ...]:
        """The files of the consoles that the kernel writes to."""

    @abstractmethod
    async def write_line(self, target: str, line: str) -> None:
        """Write one line to a console target.

        Raises:
            OSError: the target is missing or refuses.
        """

    @abstractmethod
    def panic_timeout_s(self, path: str) -> int | None:
        """The kernel's ``panic`` setting in seconds; None when it cannot be read."""

    @abstractmethod
    def sync(self) -> None:
        """Write out every file system. Blocking."""

    @abstractmethod
    def make_clean(self, mountpoint: str) -> str | None:
        """Make a file system read-only and unmount it; returns what went wrong. Blocking."""

    @abstractmethod
    def open_watchdog(self, device: str) -> int:
        """Open the hardware watchdog, which starts it; every write to the descriptor pets it.

        Raises:
            OSError: there is none, or it is taken.
        """

    @abstractmethod
    def arm_deadline(self, seconds: float, act: Callable[[], object]) -> Deadline:
        """Arm what acts after so many seconds, whatever the event loop does."""

    @abstractmethod
    def restart(self, method: str) -> str | None:
        """Restart the machine; returns what went wrong. None: a simulated machine was restarted."""
