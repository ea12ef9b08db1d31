"""The crash folder on ready storage: evidence put down in order of its worth, then room made for more.

Every call is one bounded call in a thread. What holds up one of them holds up the others, so they share their
patience: a disk that pauses is waited for as long as ``dump.stall_s``, once; after that nothing is tried on
it until it is back. Where the volume is full, the oldest artefact of an earlier crash goes, one at a time.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import trio
from attrs import frozen

from kdumpd.config import Config
from kdumpd.crashes.artefacts import expired, find_artefacts, free_stamp, over_limit
from kdumpd.crashes.reasons import FULL, REASONS_BYTES, STACK_BYTES, Reasons, commit_reasons
from kdumpd.crashes.record import MAX_RECORD_BYTES, CrashRecord, parse_record
from kdumpd.dump.stream import Limit
from kdumpd.errors import FormatError, StorageError, trouble
from kdumpd.host.folder import Folder, Space
from kdumpd.host.machine import Machine
from kdumpd.host.threads import Worker
from kdumpd.run.clock import Clock
from kdumpd.run.state import RunState
from kdumpd.storage.gate import Storage
from kdumpd.storage.volume import LEAST_DUMP_BYTES, floor_bytes, retained_bytes

T = TypeVar("T")

# Held while the dump is written, for the files that come after it: reason line and record.
_RESERVE_BYTES: Final = 256 << 10


@frozen(kw_only=True)
class Arrival:
    """What was found when the crash folder was opened.

    Attributes:
        stamp: the time part of this crash's names.
        sequence: its number on this volume.
        lived_s: the uptimes of all crashes up to this one, together.
        crash_loop: why this crash gets no dump: there were several just now; None: it may have one.
        warnings: what was wrong and ended nothing.
    """

    stamp: str
    sequence: int
    lived_s: float | None
    crash_loop: str | None
    warnings: tuple[str, ...]


class CrashFolder:
    """Where one run puts its files.

    Args:
        storage: storage that is ready.
        config: names, limits and budgets.
        machine: where blocking calls run.
        clock: gives each call its allowance.

    Attributes:
        folder: the crash folder itself; None when something else is in its path.
        evicted: artefacts that went because there was no room.
    """

    def __init__(self, storage: Storage, config: Config, machine: Machine, clock: Clock) -> None:
        self.folder: Folder | None = None
        self.evicted: list[str] = []
        self._storage = storage
        self._reasons = storage.folder
        self._config = config
        self._machine = machine
        self._clock = clock
        self._worker = Worker(machine.on_disk)
        self._arrival: Arrival | None = None
        self._sequences: dict[str, int] = {}
        self._patience_until = float("-inf")
        self._stack_written = False

    async def open(self, state: RunState) -> Arrival:
        """Open the folder, and find this crash's names and number; only once.

        Raises:
            StorageError: it cannot be opened.
        """
        log_bytes = len(state.log.data)
        return await self._call(self._open, state.crash_time_s, state.uptime_s, log_bytes)

    async def write(self, name: str, data: bytes) -> None:
        """Put one file down, durably.

        Raises:
            StorageError: it cannot be written.
        """
        if self.folder is None:
            raise StorageError("there is no crash folder")
        await self._call(self._write, self.folder, name, data)

    async def commit(self, reasons: Reasons) -> str | None:
        """Write the reason files as of now, with the room that is held for them; the stack only once.

        Returns:
            What was wrong with them and ended nothing.

        Raises:
            StorageError: they cannot be written.
        """
        return await self._call(self._commit, reasons)

    async def prune(self, *, dump_follows: bool) -> tuple[str, ...]:
        """Remove what an interrupted run left, and the artefacts that expire with this crash.

        Best effort, one at a time: one that cannot be removed is a warning.

        Returns:
            The warnings.
        """
        if self.folder is None:
            return ()
        return await self._call(self._prune, self.folder, dump_follows)

    def be_patient_again(self) -> None:
        """Wait once more for a disk that did not answer: the run is about to end."""
        self._patience_until = float("-inf")

    def close(self) -> None:
        """Let go of the file system, so that it can be unmounted; where a call hangs, when it comes back."""
        for folder in {self.folder, self._reasons, self._storage.folder} - {None}:
            assert folder is not None
            self._worker.afterwards(folder.close)

    async def limit(self) -> Limit | None:
        """Hold room for the last files, and say how long a dump may get: the floor, and ``dump.max_bytes``.

        Raises:
            StorageError: there is no room for a dump at all.
        """
        space = await self._call(self._hold_room)
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

    # In the thread.

    def _open(self, crash_time_s: int, uptime_s: float | None, log_bytes: int) -> Arrival:
        if self._arrival is None:
            warnings = self._open_reasons()
            folder = self._storage.folder.subfolder(self._config.dump.directory)
            try:
                self._arrival = self._arrive(folder, crash_time_s, uptime_s, warnings)
                # The log file comes first, and it must not take the reasons' room: they have the log in them.
                self._storage.folder.reserve(min(log_bytes, STACK_BYTES) + REASONS_BYTES)
            except OSError:
                folder.close()
                raise
            self.folder = folder
        return self._arrival

    def _arrive(
        self, folder: Folder, crash_time_s: int, uptime_s: float | None, warnings: tuple[str, ...]
    ) -> Arrival:
        names = [entry.name for entry in folder.entries()]
        records = self._read_records(folder, names)
        last = max(records, key=lambda record: record.sequence or 0, default=None)
        lived_s = None if uptime_s is None else uptime_s + ((last.lived_s if last else None) or 0.0)
        stamp, sequence = free_stamp(crash_time_s, names), ((last.sequence if last else None) or 0) + 1
        self._sequences[stamp] = sequence
        return Arrival(
            stamp=stamp,
            sequence=sequence,
            lived_s=lived_s,
            crash_loop=self._crash_loop(records, lived_s),
            warnings=warnings,
        )

    def _read_records(self, folder: Folder, names: list[str]) -> list[CrashRecord]:
        """The records that can be read; their sequence numbers are kept."""
        records = []
        for artefact in find_artefacts(names):
            if artefact.kind == "record":
                with contextlib.suppress(OSError, FormatError):
                    record = parse_record(folder.read(artefact.name, limit=MAX_RECORD_BYTES + 1))
                    records.append(record)
                    if record.sequence is not None:
                        self._sequences[artefact.stamp] = record.sequence
        return records

    def _open_reasons(self) -> tuple[str, ...]:
        """Open the folder of the reason files; what is wrong with it must not cost the dump."""
        if self._config.reasons_directory == self._config.storage.mountpoint:
            return ()
        try:
            self._reasons = self._machine.open_folder(self._config.reasons_directory)
        except StorageError as error:
            return (f"{error}: the reasons go to {self._storage.folder.path}",)
        return ()

    def _crash_loop(self, records: list[CrashRecord], lived_s: float | None) -> str | None:
        """Say that there were too many dumps lately for another one, or None; no clock on a wall is asked."""
        loop = self._config.crash_loop
        lives = [record.lived_s for record in records if record.dump.state != "none"]
        recent = sum(
            lived_s is not None and life is not None and 0 <= lived_s - life <= loop.window_s
            for life in lives
        )
        if not 0 < loop.dumps <= recent:
            return None
        return f"crash loop: {recent} dumps within {loop.window_s:g} s"

    def _write(self, folder: Folder, name: str, data: bytes) -> None:
        self._with_room(folder, partial(folder.write, name, data, mode=0o600))

    def _commit(self, reasons: Reasons) -> str | None:
        if self._stack_written:
            reasons = Reasons(stack=None, line=reasons.line, crash_time_s=reasons.crash_time_s)
        commit = partial(commit_reasons, self._reasons, reasons)
        shorter = commit() if self.folder is None else self._with_room(self.folder, commit)
        self._stack_written = True
        if self._reasons is not self._storage.folder:
            self._storage.folder.release()
        if shorter is None:
            return None
        return f"no room for the whole log in reboot-stack: its last {shorter >> 10} KiB are there"

    def _with_room(self, folder: Folder, call: Callable[[], T]) -> T:
        """Make a call; where there is no room, remove the oldest artefact of another crash and try again."""
        kept: set[str] = set()
        while True:
            try:
                return call()
            except OSError as error:
                victim = self._oldest(folder, kept) if error.errno in FULL else None
                if victim is None:
                    raise
            kept.add(victim)
            with contextlib.suppress(OSError):
                folder.remove(victim)
                folder.sync()
                self.evicted.append(victim)

    def _oldest(self, folder: Folder, kept: set[str]) -> str | None:
        """What goes first: left-overs of an interrupted run, then the oldest artefact of another crash."""
        names = [entry.name for entry in folder.entries()]
        left_over = [name for name in folder.temporaries() if name not in kept]
        stamp = self._arrival.stamp if self._arrival else ""
        old = [
            artefact.name
            for artefact in find_artefacts(names, sequences=self._sequences)
            if artefact.stamp != stamp and artefact.name not in kept
        ]
        return next(iter([*left_over, *old]), None)

    def _prune(self, folder: Folder, dump_follows: bool) -> tuple[str, ...]:
        left_over = (*self._reasons.temporaries(), *folder.temporaries())
        own = f"{self._arrival.stamp if self._arrival else ''}."
        gone = self._reasons.clear_temporaries() + folder.clear_temporaries()
        sizes_bytes = {entry.name: entry.size_bytes for entry in folder.entries()}
        keep = self._config.retention
        # This crash's log is there already; its dump is still to come.
        gone_for_count = expired(
            sizes_bytes, dumps=keep.dumps - dump_follows, logs=keep.logs, sequences=self._sequences
        )
        limit_bytes = retained_bytes(keep, folder.space())
        left = {name: size for name, size in sizes_bytes.items() if name not in gone_for_count}
        gone_for_room = (
            [] if limit_bytes is None else over_limit(left, limit_bytes, sequences=self._sequences)
        )
        stayed = [name for name in left_over if name not in gone]
        for name in (*gone_for_count, *gone_for_room):
            if own in name:
                continue
            try:
                folder.remove(name)
            except OSError as error:
                stayed.append(f"{name} ({trouble(error)})")
        folder.sync()
        warnings = [f"an earlier run was cut off; removed {', '.join(gone)}"] if gone else []
        return (*warnings, *(f"it cannot be removed: {name}" for name in stayed))

    def _hold_room(self) -> Space:
        self._storage.folder.reserve(_RESERVE_BYTES)
        return self._storage.folder.space()

    # The patience.

    async def _call(self, call: Callable[..., T], *args: object) -> T:
        stall_s = self._config.dump.stall_s
        if not self._worker.busy or self._patience_until == float("-inf"):
            self._patience_until = trio.current_time() + stall_s
        self._clock.allow(self._patience_until - trio.current_time())
        mountpoint = self._config.storage.mountpoint
        try:
            with trio.move_on_at(self._patience_until):
                return await self._worker.run(call, *args)
        except OSError as error:
            raise StorageError(f"{mountpoint}: {trouble(error)}") from error
        raise StorageError(f"{mountpoint} hangs")
