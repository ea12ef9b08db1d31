"""The simulated machine: a capture kernel's world without root, a disk or QEMU, in trio's time."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn, TypeVar

import trio
from attrs import evolve

from kdumpd.errors import DumpError, FormatError, StorageError
from kdumpd.host.folder import Folder
from kdumpd.host.machine import Machine, Tick
from kdumpd.host.mounts import Mount, find_mount
from kdumpd.host.uevents import Partition
from kdumpd.testing.console import SimulatedConsole
from kdumpd.testing.crash import DEFAULT_LOG, make_vmcoreinfo
from kdumpd.testing.disk import SimulatedDisk, SimulatedFolder
from kdumpd.testing.makedumpfile import SimulatedMakedumpfile, vmcore_dmesg
from kdumpd.testing.programs import Program, SimulatedProcess
from kdumpd.testing.timers import SimulatedDeadline, SimulatedWatchdog
from kdumpd.vmcore.headers import Vmcoreinfo, parse_vmcoreinfo

T = TypeVar("T")

_ROOT: Final = Mount(
    mount_id=1,
    parent_id=0,
    device="0:2",
    root="/",
    mountpoint="/",
    options=frozenset({"rw"}),
    filesystem="squashfs",
    source="/dev/vda",
    super_options=frozenset({"ro"}),
)


class SimulatedMachine(Machine):
    """A machine for tests: pass it wherever kdumpd takes a ``machine``.

    Nothing on it is real but the files of its disk, in a folder of the test. Times are trio's, so that with
    ``trio.testing.MockClock(autojump_threshold=0)`` a wait of minutes takes none; threads and processes are
    simulated in trio's own thread. A change of the mount table or the devices sends the event that a kernel
    would, unless ``loses_events`` is set.

    Args:
        directory: where the files of the disk are put.

    Attributes:
        disk: the disk behind all mounts.
        console: what was written to the console targets.
        log: the crashed kernel's log.
        vmcoreinfo_note: the crashed kernel's VMCOREINFO; None: the vmcore has none.
        makedumpfile: the stand-in for makedumpfile.
        programs: every program, by name.
        processes: every process that was started.
        journal: what was done, in order: files created, published and removed, ``sync``, ``unmount ...``,
            ``restart by ...``.
        loses_events: changes are made without a word.
        unmount_trouble: why a file system cannot be left clean; None: it can.
        restart_trouble: why a restart fails; None: it works.
        panic_timeout: the kernel's ``panic`` setting; None: it cannot be read.
        watchdog: the hardware watchdog; None: there is none.
        deadline: the deadline of the latest run.
    """

    stream_wait_s = 0

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._mounts = [_ROOT]
        self._partitions: dict[str, Partition] = {}
        self._mount_watchers: list[Tick] = []
        self._device_watchers: list[Tick] = []
        self.disk = SimulatedDisk(self._directory)
        self.console = SimulatedConsole()
        self.log = DEFAULT_LOG
        self.vmcoreinfo_note: bytes | None = make_vmcoreinfo()
        self.makedumpfile = SimulatedMakedumpfile(log=lambda: self.log)
        self.programs: dict[str, Program] = {
            "makedumpfile": self.makedumpfile,
            "vmcore-dmesg": vmcore_dmesg(lambda: self.log),
        }
        self.processes: list[SimulatedProcess] = []
        self.journal: list[str] = []
        self.loses_events = False
        self.unmount_trouble: str | None = None
        self.restart_trouble: str | None = None
        self.panic_timeout: int | None = -1
        self.watchdog: SimulatedWatchdog | None = None
        self.deadline: SimulatedDeadline | None = None

    # What a test sets up.

    def attach_partition(self, label: str = "P3", device: str = "/dev/vdb1") -> None:
        """Let a partition with this label appear."""
        self._partitions[label] = Partition(device=device, label=label)
        self._tell(self._device_watchers)

    def detach_partition(self, label: str = "P3") -> None:
        """Let a partition disappear; what is mounted stays mounted."""
        del self._partitions[label]
        self._tell(self._device_watchers)

    def mount(
        self,
        mountpoint: str = "/persist",
        *,
        filesystem: str = "ext4",
        source: str = "/dev/vdb1",
        read_only: bool = False,
    ) -> Path:
        """Mount a device; where something is mounted already, on top of it.

        Returns:
            The folder in which its files really are. A device that was mounted before has kept its files.
        """
        below = find_mount(self._mounts, mountpoint)
        mount = Mount(
            mount_id=max(mount.mount_id for mount in self._mounts) + 1,
            parent_id=below.mount_id if below else _ROOT.mount_id,
            device=f"253:{len(self._mounts)}",
            root="/",
            mountpoint=mountpoint,
            options=_options(read_only=read_only),
            filesystem=filesystem,
            source=source,
            super_options=_options(read_only=read_only),
        )
        self._mounts.append(mount)
        self._place(mount).mkdir(parents=True, exist_ok=True)
        self._tell(self._mount_watchers)
        return self._place(mount)

    def remount(self, mountpoint: str = "/persist", *, read_only: bool) -> None:
        """Make the mount read-only or writable."""
        old = self._mount_at(mountpoint)
        options = _options(read_only=read_only)
        self._mounts[self._mounts.index(old)] = evolve(old, options=options, super_options=options)
        self._tell(self._mount_watchers)

    def unmount(self, mountpoint: str = "/persist") -> None:
        """Unmount what is on top there; its files stay with its device."""
        self._mounts.remove(self._mount_at(mountpoint))
        self._tell(self._mount_watchers)

    def files(self, source: str = "/dev/vdb1") -> Path:
        """The folder in which the files of a device really are, mounted or not."""
        return self._directory / source.strip("/").replace("/", "-")

    def leftovers(self) -> list[str]:
        """What a run should have ended and did not: processes, watchers, a deadline."""
        left = [f"process {process.argv}" for process in self.processes if process.running]
        left += ["mount watcher" for _ in self._mount_watchers]
        left += ["device watcher" for _ in self._device_watchers]
        return [*left, "deadline"] if self.deadline is not None and self.deadline.armed else left

    def _tell(self, watchers: list[Tick]) -> None:
        if not self.loses_events:
            for tick in watchers:
                tick()

    def _mount_at(self, mountpoint: str) -> Mount:
        mount = find_mount(self._mounts, mountpoint)
        if mount is None:
            raise ValueError(f"nothing is mounted on {mountpoint}")
        return mount

    def _place(self, mount: Mount) -> Path:
        return self.files(mount.source)

    def _open(self, path: str, place: Path) -> SimulatedFolder:
        self.disk.touch()
        if not place.is_dir():
            raise StorageError(f"{path} does not exist")
        fd = Folder.open(str(place)).fd
        return SimulatedFolder(path=path, fd=fd, disk=self.disk, note=self.journal.append)

    # What kdumpd asks of it.

    def mounts(self) -> tuple[Mount, ...]:
        """The mount table as it is now."""
        return tuple(self._mounts)

    def partition(self, label: str) -> Partition | None:
        """The block device with this partition label, if there is one."""
        return self._partitions.get(label)

    async def watch_mounts(
        self, tick: Tick, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every change of the mount table."""
        with _watching(tick, self._mount_watchers):
            task_status.started()
            await trio.sleep_forever()

    async def watch_devices(
        self, tick: Tick, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call ``tick`` after every device event; the source is called ``simulated``."""
        with _watching(tick, self._device_watchers):
            task_status.started("simulated")
            await trio.sleep_forever()

    async def on_disk(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Make the call with the disk's delays; a cancel leaves it behind."""
        return await self.disk.call(partial(call, *args, **kwargs))

    async def compute(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Make the call at once."""
        await trio.lowlevel.checkpoint()
        return call(*args, **kwargs)

    def open_mount(self, mount: Mount) -> SimulatedFolder:
        """Open the folder that this mount is mounted on.

        Raises:
            StorageError: something else is mounted there by now.
        """
        if find_mount(self._mounts, mount.mountpoint) != mount:
            raise StorageError(f"{mount.mountpoint} changed while it was opened")
        return self._open(mount.mountpoint, self._place(mount))

    def open_folder(self, path: str) -> SimulatedFolder:
        """Open a folder on one of the mounts.

        Raises:
            StorageError: it is not there.
        """
        for parent in (PurePosixPath(path), *PurePosixPath(path).parents):
            if mount := find_mount(self._mounts, str(parent)):
                return self._open(path, self._place(mount) / PurePosixPath(path).relative_to(parent))
        raise StorageError(f"{path} does not exist")

    def vmcoreinfo(self, path: str) -> Vmcoreinfo:
        """The VMCOREINFO note of the crashed kernel.

        Raises:
            FormatError: the vmcore has none.
        """
        if self.vmcoreinfo_note is None:
            raise FormatError(f"{path}: no VMCOREINFO note")
        return parse_vmcoreinfo(self.vmcoreinfo_note)

    async def spawn(
        self, argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()
    ) -> SimulatedProcess:
        """Start one of the programs; they share our process, and so have every descriptor.

        Raises:
            DumpError: there is none of that name.
        """
        await trio.lowlevel.checkpoint()
        if argv[0] not in self.programs:
            raise DumpError(f"{argv[0]} not found")
        process = SimulatedProcess(argv, self.programs[argv[0]], stdout=stdout)
        self.processes.append(process)
        return process

    def splice(self, source: int, target: int, size_bytes: int, offset: int) -> int:
        """Move bytes from a pipe into a file on the disk."""
        return self.disk.splice(source, target, size_bytes, offset)

    def consoles(self) -> tuple[str, ...]:
        """One console."""
        return ("/dev/console",)

    async def write_line(self, target: str, line: str) -> None:
        """Record one line of the console."""
        await self.console.write_line(target, line)

    def panic_timeout_s(self, path: str) -> int | None:
        """The kernel's ``panic`` setting."""
        return self.panic_timeout

    def sync(self) -> None:
        """Note it."""
        self.disk.touch()
        self.journal.append("sync")

    def make_clean(self, mountpoint: str) -> str | None:
        """Unmount, unless that has trouble."""
        self.disk.touch()
        if self.unmount_trouble is None and find_mount(self._mounts, mountpoint) is not None:
            self.unmount(mountpoint)
            self.journal.append(f"unmount {mountpoint}")
        return self.unmount_trouble

    def open_watchdog(self, device: str) -> int:
        """Open the watchdog, if there is one."""
        if self.watchdog is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), device)
        return self.watchdog.open()

    def arm_deadline(self, seconds: float, act: Callable[[], object]) -> SimulatedDeadline:
        """Arm a deadline in trio's time."""
        self.deadline = SimulatedDeadline(seconds, act)
        return self.deadline

    def restart(self, method: str) -> str | None:
        """Note it; returns what a test has set as the trouble with it."""
        self.journal.append(f"restart by {method}")
        return self.restart_trouble


@contextmanager
def _watching(tick: Tick, watchers: list[Tick]) -> Iterator[None]:
    watchers.append(tick)
    try:
        yield
    finally:
        watchers.remove(tick)


def _options(*, read_only: bool) -> frozenset[str]:
    return frozenset({"ro" if read_only else "rw"})
