"""The crash folder on storage that is ready: room is made, evidence put down, the reasons committed.

Every call is one bounded turn in a thread. A turn that does not come back means that the disk hangs;
nothing more is tried on it then, since each try would cost its whole wait again.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import trio
from attrs import frozen

from kdumpd.config import Config
from kdumpd.crashes.artefacts import expired, find_artefacts, free_stamp
from kdumpd.dmesg.lines import tail
from kdumpd.dump.job import Limit
from kdumpd.errors import StorageError, trouble
from kdumpd.host.folder import STACK_BYTES, Folder, Reasons, Space, commit_reasons
from kdumpd.host.machine import Machine
from kdumpd.host.threads import Worker
from kdumpd.run.state import Evidence
from kdumpd.storage.gate import Storage
from kdumpd.storage.volume import LEAST_DUMP_BYTES, floor_bytes

T = TypeVar("T")

# A turn that writes small files and takes longer than this, or than the grace, means that the disk hangs.
_TURN_S: Final = 30.0

# Held while the dump is written, for the files that come after it: reason line and record.
_RESERVE_BYTES: Final = 256 << 10

# The reason files without the log in them.
_REASONS_BYTES: Final = 32 << 10

# Before this the clock was never set, and times say nothing about a crash loop: 2001-09-09.
_CLOCK_SET_S: Final = 10**9


@frozen(kw_only=True)
class Arrived:
    """What was found and done when the crash folder was opened.

    Attributes:
        stamp: the time part of this crash's names.
        removed: artefacts that went, to make room.
        left_over: what an interrupted run had left, which went too.
        crash_loop: why this crash gets no dump: there were several just now; None: it may have one.
        warnings: what was wrong and ended nothing.
    """

    stamp: str
    removed: tuple[str, ...]
    left_over: tuple[str, ...]
    crash_loop: str | None
    warnings: tuple[str, ...]


class CrashFolder:
    """Where one run puts its files.

    Args:
        storage: storage that is ready.
        config: names, limits and budgets.
        machine: where blocking turns run.

    Attributes:
        folder: the crash folder itself; None when something else is in its place.
    """

    def __init__(self, storage: Storage, config: Config, machine: Machine) -> None:
        self.folder: Folder | None = None
        self._storage = storage
        self._reasons = storage.folder
        self._config = config
        self._machine = machine
        self._worker = Worker(machine.on_disk)
        self._arrived: Arrived | None = None
        self._hangs = False
        self._stack_written = False
        self._turn_s = min(_TURN_S, config.budget.grace_s)

    async def open(self, evidence: Evidence, *, dump_follows: bool) -> Arrived:
        """Open the folder, clear what an interrupted run left, and make room for this crash; only once.

        Args:
            evidence: what will be put down.
            dump_follows: whether a dump will be, too, unless there is a crash loop.

        Raises:
            StorageError: it cannot be opened or cleared.
        """
        log_bytes = len(evidence.log.data)
        return await self._turn(self._open, evidence.crash_time_s, log_bytes, dump_follows)

    async def write(self, name: str, data: bytes) -> None:
        """Put one file down, durably.

        Raises:
            StorageError: it cannot be written.
        """
        if self.folder is None:
            raise StorageError("there is no crash folder")
        await self._turn(partial(self.folder.write, name, data, mode=0o600))

    async def commit(self, evidence: Evidence) -> None:
        """Write the reason files as of now, with the room that is held for them; the stack only once.

        Raises:
            StorageError: they cannot be written.
        """
        stack = None if self._stack_written else tail(evidence.log.data, STACK_BYTES)
        reasons = Reasons(stack=stack, line=evidence.reason(), crash_time_s=evidence.info.crash_time_s)
        await self._turn(self._commit, reasons)
        self._stack_written = True

    def close(self) -> None:
        """Let go of the file system, so that it can be unmounted; where a turn hangs, when it comes back."""
        for folder in {self.folder, self._reasons, self._storage.folder} - {None}:
            assert folder is not None
            self._worker.afterwards(folder.close)

    async def limit(self) -> Limit | None:
        """Hold room for the last files, and say how long a dump may get: the floor, and ``dump.max_bytes``.

        Raises:
            StorageError: there is no room for a dump at all.
        """
        space = await self._turn(self._hold_room)
        floor = floor_bytes(self._config.storage, space)
        room = space.free_bytes - floor
        if room < LEAST_DUMP_BYTES:
            raise StorageError(
                f"only {space.free_bytes >> 20} MiB free on {self._config.storage.mountpoint},"
                f" and {floor >> 20} MiB must stay free"
            )
        if 0 < self._config.dump.max_bytes <= room:
            size_bytes = self._config.dump.max_bytes
            return Limit(size_bytes=size_bytes, why=f"size budget of {size_bytes} bytes ran out")
        return Limit(size_bytes=room, why=f"space ran out: {floor >> 20} MiB must stay free")

    def _commit(self, reasons: Reasons) -> None:
        self._storage.folder.release()
        commit_reasons(self._reasons, reasons)

    def _hold_room(self) -> Space:
        self._storage.folder.reserve(_RESERVE_BYTES)
        return self._storage.folder.space()

    def _open(self, crash_time_s: int, log_bytes: int, dump_follows: bool) -> Arrived:
        if self._arrived is None:
            folder = self._storage.folder.subfolder(self._config.dump.directory)
            try:
                self._arrived = self._make_room(folder, crash_time_s, log=log_bytes > 0, dump=dump_follows)
                # The log file comes first, and it must not take the reasons' room: they have the log in them.
                self._storage.folder.reserve(min(log_bytes, STACK_BYTES) + _REASONS_BYTES)
            except OSError:
                folder.close()
                raise
            self.folder = folder
        return self._arrived

    def _make_room(self, folder: Folder, crash_time_s: int, *, log: bool, dump: bool) -> Arrived:
        """Clear left-overs, and remove the oldest dump and log where one more of its kind is to come."""
        warnings = self._open_reasons()
        left_over = self._reasons.clear_temporaries() + folder.clear_temporaries()
        names = [entry.name for entry in folder.entries()]
        crash_loop = self._crash_loop(names, crash_time_s) if dump else None
        new_dumps, new_logs = int(dump and crash_loop is None), int(log)
        keep = self._config.retention
        removed = expired(names, dumps=keep.dumps - new_dumps, logs=keep.logs - new_logs)
        for name in removed:
            folder.remove(name)
        folder.sync()
        return Arrived(
            stamp=free_stamp(crash_time_s, names),
            removed=tuple(removed),
            left_over=left_over,
            crash_loop=crash_loop,
            warnings=warnings,
        )

    def _open_reasons(self) -> tuple[str, ...]:
        """Open the folder of the reason files; what is wrong with it must not cost the dump."""
        if not self._config.reasons.directory:
            return ()
        try:
            self._reasons = self._machine.open_folder(self._config.reasons.directory)
        except StorageError as error:
            return (f"{error}: the reasons go to {self._storage.folder.path}",)
        return ()

    def _crash_loop(self, names: list[str], crash_time_s: int) -> str | None:
        """Say that there were too many dumps lately for another one, or None."""
        loop = self._config.crash_loop
        times_s = [artefact.order[0] for artefact in find_artefacts(names) if artefact.kind == "dump"]
        recent = sum(crash_time_s - loop.window_s <= time_s <= crash_time_s for time_s in times_s)
        if crash_time_s < _CLOCK_SET_S or not 0 < loop.dumps <= recent:
            return None
        return f"crash loop: {recent} dumps within {loop.window_s:g} s"

    async def _turn(self, call: Callable[..., T], *args: object) -> T:
        if self._hangs:
            raise StorageError(f"{self._config.storage.mountpoint} hangs")
        try:
            with trio.fail_after(self._turn_s):
                return await self._worker.run(call, *args)
        except trio.TooSlowError as error:
            self._hangs = True
            raise StorageError(f"{self._config.storage.mountpoint} hangs") from error
        except OSError as error:
            raise StorageError(f"{self._config.storage.mountpoint}: {trouble(error)}") from error
