"""One dump: from makedumpfile's pipe to a checked file under its final name.

The file keeps a temporary name until it is whole, or cut short and sealed; and until it is known that it
holds no page that its level excludes.
"""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from attrs import evolve, frozen

from kdumpd import config
from kdumpd.dump import kdumpfile, makedumpfile
from kdumpd.dump.backfill import Backfill
from kdumpd.dump.flattened import FlattenedWriter
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.dump.salvage import salvage
from kdumpd.dump.tools import survey
from kdumpd.dump.verdict import NO_DUMP, Verdict, judge
from kdumpd.errors import DumpError, FormatError, trouble
from kdumpd.host.folder import Folder
from kdumpd.host.machine import Machine
from kdumpd.host.process import CHUNK_BYTES, Child, Finished, Tail, program_with_pipe
from kdumpd.host.threads import Worker

# A turn that a cancel left behind has at most 8 MiB to write; one that takes longer hangs.
_TURN_S: Final = 3.0
# How long pages may be added to a dump that was cut; and how much of the time that is left, since the file
# must still be checked and synced. All that is wanted takes 3 s on an idle core, 8 s on a busy one.
_SALVAGE_S: Final = 20.0
_SALVAGE_PART: Final = 1 / 3
# How long makedumpfile may take to exit after its last byte; and, where its stream broke off, to say why.
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
    """

    percent: float | None
    size_bytes: int
    elapsed_s: float

    def line(self) -> str:
        """The progress as one line for a console: percent, size, rate and time left."""
        rate = self.size_bytes / self.elapsed_s if self.elapsed_s else 0.0
        text = f"{self.size_bytes / 2**20:.1f} MiB, {rate / 2**20:.1f} MiB/s"
        if not self.percent:
            return f"dump: preparing, {text}"
        left_s = self.elapsed_s * (100 - self.percent) / self.percent
        return f"dump: {self.percent:.1f} %, {text}, {left_s:.0f} s left"


class Dump:
    """One run of makedumpfile into one file.

    Args:
        folder: where the file goes; the caller may close it as soon as ``take`` is done.
        name: its final name.
        settings: level, budgets and what to do with an unfiltered dump.
        machine: where programs and threads run.
        vmcore: path of the crashed kernel's memory.
        compression: the compression to ask makedumpfile for.
        limit: the longest that the file may get, or None.
        survey: the page report of a dry run, for a dump that is cut before its own report.
        advance: called whenever the work has advanced.
        interrupted: says why, when ``take`` is cancelled.
        seal_s: how long ``take`` may still seal and check what there is, when it is cancelled.

    Attributes:
        verdict: what became of it; set when ``take`` ends, also when it is cancelled.
    """

    def __init__(
        self,
        *,
        folder: Folder,
        name: str,
        settings: config.DumpSettings,
        machine: Machine,
        vmcore: str,
        compression: str,
        limit: Limit | None = None,
        survey: PageReport | None = None,
        advance: Callable[[], None] = lambda: None,
        interrupted: Callable[[], str] = lambda: "interrupted",
        seal_s: float = 10,
    ) -> None:
        self.verdict = NO_DUMP
        self._folder = folder
        self._name = name
        self._settings = settings
        self._machine = machine
        self._vmcore = vmcore
        self._compression = compression
        self._limit = limit
        self._survey = survey
        self._tell_advance = advance
        self._interrupted = interrupted
        self._seal_s = seal_s
        self._worker = Worker(machine.on_disk)
        self._writer: FlattenedWriter | None = None
        self._finished: Verdict | None = None
        self._given_up = False
        self._writable = True
        self._check: kdumpfile.Check | None = None
        self._backfill: Backfill | None = None
        self._surveyed = False
        self._tail = Tail()
        self._heard = trio.Event()
        self._percent: float | None = None
        self._started_at = trio.current_time()
        self._stall = trio.CancelScope()

    def progress(self) -> Progress:
        """Where it is now."""
        return Progress(
            percent=self._percent,
            size_bytes=self._writer.written_bytes if self._writer else 0,
            elapsed_s=trio.current_time() - self._started_at,
        )

    async def take(self) -> Verdict:
        """Make the dump; every failure is a verdict. Cancelled, it still seals what it has, bounded."""
        self._started_at = trio.current_time()
        self._folder = self._folder.duplicate()
        try:
            await self._take()
        finally:
            self._worker.afterwards(self._folder.close)
        return self.verdict

    async def _take(self) -> None:
        try:
            target = await self._worker.run(self._folder.create, self._name, mode=0o600, undo=self._drop)
        except OSError as error:
            self.verdict = Verdict(state="none", why=f"{self._folder.path}: {trouble(error)}")
            return
        try:
            await self._fill(target)
        finally:
            await self._let_go(target)  # noqa: ASYNC102 it shields itself

    async def _let_go(self, target: int) -> None:
        """Close the file, and remove one of which nothing came; where the disk hangs, when it comes back."""
        # A thread that still hangs on the disk owns the descriptor: closing it here would let its
        # number be used again under the thread's hands.
        if self._finished is not None:
            self._worker.afterwards(partial(os.close, target))
        elif self._worker.busy:
            self._worker.afterwards(partial(self._drop, target))
        else:
            with trio.move_on_after(_TURN_S, shield=True):
                await self._worker.run(self._drop, target)

    def _drop(self, target: int) -> None:
        os.close(target)
        with contextlib.suppress(OSError):
            self._folder.discard(self._name)

    async def _fill(self, target: int) -> None:
        try:
            cut = await self._stream_in_time(target)
            self.verdict = await self._conclude(target, cut)
        except* trio.Cancelled:  # alone, or in a nursery's group
            self.verdict = Verdict(state="none", why=self._interrupted())
            with trio.move_on_after(self._seal_s, shield=True):
                self.verdict = await self._conclude(target, self._interrupted())
            raise

    async def _stream_in_time(self, target: int) -> str | None:
        """Run makedumpfile into the file; returns why it was cut short, or None."""
        with (
            trio.move_on_after(self._settings.time_s) as time,
            trio.move_on_after(self._settings.stall_s) as self._stall,
        ):
            try:
                return await self._stream(target)
            except DumpError as error:
                return str(error)
        if time.cancelled_caught:
            return f"time budget of {self._settings.time_s:g} s ran out"
        return f"no progress for {self._settings.stall_s:g} s"

    async def _stream(self, target: int) -> str | None:
        argv = makedumpfile.dump_argv(
            self._settings.makedumpfile,
            self._vmcore,
            level=self._settings.level,
            compression=self._compression,
        )
        async with (
            program_with_pipe(self._machine.spawn, argv) as (child, source),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._listen, child)
            self._writer = FlattenedWriter(
                source,
                target,
                limit_bytes=self._limit.size_bytes if self._limit else None,
                splice=self._machine.splice,
            )
            cut = await self._place_all(self._writer, source)
            if not self._writer.limit_reached:
                cut = await self._ending(child, cut)
            nursery.cancel_scope.cancel()
        return cut

    async def _place_all(self, writer: FlattenedWriter, source: int) -> str | None:
        try:
            while not writer.ended:
                await trio.lowlevel.wait_readable(source)
                await self._turn(writer)
                if writer.limit_reached and self._limit:
                    return self._limit.why
        except FormatError as error:
            return str(error)
        except OSError as error:
            self._writable = False
            return f"writing the dump failed: {trouble(error)}"
        return None

    async def _ending(self, child: Child, cut: str | None) -> str | None:
        """Why makedumpfile failed, in its own words where it has some; None when nothing failed."""
        with trio.move_on_after(_LAST_WORD_S if cut else _EXIT_S):
            code = await child.wait()
            await self._heard.wait()
            if code != 0:
                return f"makedumpfile {Finished(code=code, messages=self._tail.data).why()}"
        return cut

    async def _turn(self, writer: FlattenedWriter) -> None:
        try:
            await self._worker.run(writer.step, self._machine.stream_wait_s)
        except trio.Cancelled:
            writer.stopped = True
            # Its thread reads the pipe, which is closed next: let a turn that only waits for the pipe end.
            with trio.move_on_after(2 * self._machine.stream_wait_s, shield=True):
                await self._worker.idle()
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
            self._percent = makedumpfile.parse_progress(bytes(chunk)) or self._percent
        self._heard.set()

    async def _conclude(self, target: int, cut: str | None) -> Verdict:
        """Check, seal or drop, and publish; bounded, since all of it touches the disk."""
        hangs = Verdict(state="none", why=f"{cut or 'the dump was written'}; storage does not answer")
        if not await self._is_back():
            return hangs
        if self._finished is not None:
            return self._finished
        report = makedumpfile.parse_report(self._tail.data) or self._survey
        if report is None and self._settings.level & makedumpfile.PRIVATE_PAGES and not self._surveyed:
            self._surveyed = True  # once: where it hangs, it would hang again
            report = await survey(self._machine, self._settings, self._vmcore)
        if cut is not None:
            await self._salvage(target, cut, report)
        with trio.move_on_after(self._settings.stall_s):
            return await self._worker.run(self._finish, target, cut, report)
        self._given_up = True
        return hangs

    async def _is_back(self) -> bool:
        """Wait for a turn that a cancel left in its thread; False when it hangs on the disk."""
        with trio.move_on_after(_TURN_S):
            await self._worker.idle()
        return not self._worker.busy

    async def _salvage(self, target: int, cut: str, report: PageReport | None) -> None:
        """Add the pages that an analyst needs first, once, if the dump is going to be kept."""
        if not self._writable or self._backfill is not None:
            return
        began = trio.current_time()
        within_s = min(_SALVAGE_S, _SALVAGE_PART * (trio.current_effective_deadline() - began))
        with trio.move_on_after(within_s), contextlib.suppress(FormatError, OSError):
            check = await self._worker.run(self._checked, target)
            worth = judge(check, report, cut, self._settings)
            # Where a look at the file takes long, so does adding to it.
            if worth.state == "incomplete" and trio.current_time() - began < _SALVAGE_PART * within_s:
                limit_bytes = self._limit.size_bytes if self._limit else None
                backfill = self._backfill = Backfill(os.dup(target), check, limit_bytes=limit_bytes)
                await salvage(
                    backfill,
                    self._vmcore,
                    machine=self._machine,
                    disk=self._worker,
                    advance=self._advance,
                )

    def _checked(self, target: int) -> kdumpfile.Check:
        """What the file holds; looked at again where something was added."""
        if self._check is None or (self._backfill is not None and self._backfill.changed):
            self._check = kdumpfile.check(target)
        return self._check

    def _finish(self, target: int, cut: str | None, report: PageReport | None) -> Verdict:
        """Conclude, in a thread; the verdict is kept even if nobody waits for it any more."""
        try:
            self._finished = self._publish(target, self._judge(target, cut, report))
        except (OSError, FormatError) as error:
            told = trouble(error) if isinstance(error, OSError) else error
            why = f"{cut or 'the dump was written'}; finishing it failed: {told}"
            self._finished = Verdict(state="none", why=why, report=report)
            with contextlib.suppress(OSError):
                self._folder.discard(self._name)
        return self._finished

    def _judge(self, target: int, cut: str | None, report: PageReport | None) -> Verdict:
        try:
            added = self._backfill.filled if self._backfill else 0
            return evolve(judge(self._checked(target), report, cut, self._settings), added_pages=added)
        except FormatError as error:
            return Verdict(state="none", why=cut or f"the dump is damaged: {error}", report=report)

    def _publish(self, target: int, verdict: Verdict) -> Verdict:
        if verdict.state == "incomplete":
            kdumpfile.seal(target)
        if verdict.state != "none":
            self._folder.sync_file(target)  # the part that takes long, before the last look
        if verdict.state == "none" or self._given_up:
            self._folder.discard(self._name)
        else:
            self._folder.publish(target, self._name)
        return verdict
