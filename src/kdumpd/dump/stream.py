"""makedumpfile at work: its stream goes from the pipe to its offsets in a file, metered and bounded."""

from collections.abc import Callable
from typing import Final

import trio
from attrs import frozen

from kdumpd import config
from kdumpd.dump import makedumpfile
from kdumpd.dump.flattened import FlattenedWriter
from kdumpd.errors import DumpError, FormatError, trouble
from kdumpd.host.machine import Machine
from kdumpd.host.process import CHUNK_BYTES, Child, Finished, Tail, program_with_pipe
from kdumpd.host.threads import Worker

# How long makedumpfile may take to exit after its last byte, when the dump is whole whatever it does; and,
# where its stream broke off, to say why.
_EXIT_S: Final = 5.0
_LAST_WORD_S: Final = 1.0


@frozen(kw_only=True)
class Limit:
    """How long a dump may get, in bytes, and what sets that."""

    size_bytes: int
    why: str


@frozen(kw_only=True)
class Progress:
    """Where a running dump is.

    Attributes:
        percent: of the pages to copy, as makedumpfile says; None before the copying begins.
        size_bytes: data placed so far.
        elapsed_s: since the dump began.
        copying_s: since the copying began; what came before says nothing about the time that is left.
    """

    percent: float | None
    size_bytes: int
    elapsed_s: float
    copying_s: float = 0.0

    def line(self) -> str:
        """The progress as one line for a console: percent, size, rate and time left."""
        rate = self.size_bytes / self.elapsed_s if self.elapsed_s else 0.0
        text = f"{self.size_bytes / 2**20:.1f} MiB, {rate / 2**20:.1f} MiB/s"
        if not self.percent:
            return f"dump: preparing, {text}"
        left_s = (self.copying_s or self.elapsed_s) * (100 - self.percent) / self.percent
        return f"dump: {self.percent:.1f} %, {text}, {left_s:.0f} s left"


class Stream:
    """One run of makedumpfile into an open file.

    Args:
        settings: program, level and budgets.
        machine: where the program and the threads run.
        vmcore: path of the crashed kernel's memory.
        compression: the compression to ask for.
        limit: the longest that the file may get, or None.
        disk: makes the calls that write to the file.
        advance: called whenever the work has advanced.

    Attributes:
        writable: False once a write failed.
        time_spent: ``dump.time_s`` ran out.
    """

    def __init__(
        self,
        *,
        settings: config.DumpSettings,
        machine: Machine,
        vmcore: str,
        compression: str,
        limit: Limit | None,
        disk: Worker,
        advance: Callable[[], None],
    ) -> None:
        self.writable = True
        self.time_spent = False
        self._settings = settings
        self._machine = machine
        self._argv = makedumpfile.dump_argv(
            settings.makedumpfile, vmcore, level=settings.level, compression=compression
        )
        self._limit = limit
        self._disk = disk
        self._tell_advance = advance
        self._writer: FlattenedWriter | None = None
        self._tail = Tail()
        self._heard = trio.Event()
        self._percent: float | None = None
        self._began = trio.current_time()
        self._copying_since: float | None = None
        self._stall = trio.CancelScope()

    @property
    def messages(self) -> bytes:
        """The last part of what makedumpfile said."""
        return self._tail.data

    def progress(self) -> Progress:
        """Where it is now."""
        now = trio.current_time()
        return Progress(
            percent=self._percent,
            size_bytes=self._writer.written_bytes if self._writer else 0,
            elapsed_s=now - self._began,
            copying_s=now - self._copying_since if self._copying_since is not None else 0.0,
        )

    async def run(self, target: int) -> str | None:
        """Run makedumpfile into a file; returns why it was cut short, or None.

        It may take ``dump.time_s``, and ``dump.stall_s`` from each advance to the next.
        """
        self._began = trio.current_time()
        with (
            trio.move_on_after(self._settings.time_s) as time,
            trio.move_on_after(self._settings.stall_s) as self._stall,
        ):
            try:
                return await self._run(target)
            except DumpError as error:
                return str(error)
        if time.cancelled_caught:
            self.time_spent = True
            return f"time budget of {self._settings.time_s:g} s ran out"
        return f"no progress for {self._settings.stall_s:g} s"

    async def _run(self, target: int) -> str | None:
        async with (
            program_with_pipe(self._machine.spawn, self._argv) as (child, source),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._listen, child)
            limit_bytes = self._limit.size_bytes if self._limit else None
            writer = FlattenedWriter(source, target, limit_bytes=limit_bytes, splice=self._machine.splice)
            self._writer = writer
            cut = await self._write_all(writer, source)
            if not writer.limit_reached:
                cut = await self._ended(child, cut)
            nursery.cancel_scope.cancel()
        return cut

    async def _write_all(self, writer: FlattenedWriter, source: int) -> str | None:
        try:
            while not writer.ended:
                await trio.lowlevel.wait_readable(source)
                await self._step(writer)
                if writer.limit_reached and self._limit:
                    return self._limit.why
        except FormatError as error:
            return str(error)
        except OSError as error:
            self.writable = False
            return f"writing the dump failed: {trouble(error)}"
        return None

    async def _ended(self, child: Child, cut: str | None) -> str | None:
        """Why makedumpfile failed, in its own words where it has some; None when nothing failed."""
        with trio.move_on_after(_LAST_WORD_S if cut else _EXIT_S):
            code = await child.wait()
            await self._heard.wait()
            if code != 0:
                return f"makedumpfile {Finished(code=code, messages=self._tail.data).why()}"
        return cut

    async def _step(self, writer: FlattenedWriter) -> None:
        try:
            await self._disk.run(writer.step, self._machine.stream_wait_s)
        except trio.Cancelled:
            writer.stopped = True
            # Its thread reads the pipe, which is closed next: let a step that only waits for the pipe end.
            with trio.move_on_after(2 * self._machine.stream_wait_s, shield=True):
                await self._disk.idle()
            raise
        self._advance()

    def _advance(self) -> None:
        self._stall.deadline = trio.current_time() + self._settings.stall_s
        self._tell_advance()

    async def _listen(self, child: Child) -> None:
        assert child.stderr is not None
        phase = None
        while chunk := await child.stderr.receive_some(CHUNK_BYTES):
            self._tail.add(chunk)
            now = makedumpfile.parse_phase(self._tail.data)
            # Only a phase that moves is progress: the same text again and again is not.
            if now != phase:
                phase = now
                self._advance()
            self._note_percent(makedumpfile.parse_progress(bytes(chunk)))
        self._heard.set()

    def _note_percent(self, percent: float | None) -> None:
        if percent and self._copying_since is None:
            self._copying_since = trio.current_time()
        self._percent = percent or self._percent
