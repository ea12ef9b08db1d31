"""One dump, from makedumpfile's pipe to a checked file under its final name.

The job opens the file, has ``stream`` fill it, and has ``conclude`` decide what becomes of it. The file keeps
a temporary name until it is whole, or cut short and sealed; and until it is known that it holds no page that
its level excludes.
"""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from kdumpd import config
from kdumpd.dump import makedumpfile
from kdumpd.dump.backfill import Backfill
from kdumpd.dump.conclude import Conclusion
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.dump.salvage import salvage
from kdumpd.dump.stream import Limit, Progress, Stream
from kdumpd.dump.tools import survey
from kdumpd.dump.verdict import Verdict, judge
from kdumpd.errors import FormatError, innermost, trouble
from kdumpd.host.folder import Folder, NewFile
from kdumpd.host.machine import Machine
from kdumpd.host.threads import Worker

# How long pages may be added to a dump that was cut; and how much of the time that is left, since the file
# must still be checked and synced. All that is wanted takes 3 s on an idle core, 8 s on a busy one.
_SALVAGE_S: Final = 20.0
_SALVAGE_PART: Final = 1 / 3

# How long the removal of a file may take, however late it is.
_DROP_S: Final = 2.0

_RUNNING: Final = Verdict(state="none", why="the machine went down while the dump was written")
"""What the reasons say while the dump is written: the truth, should the machine go down."""


class DumpJob:
    """Makes one dump.

    Args:
        folder: where the file goes; the caller may close it as soon as ``run`` is done.
        name: its final name.
        settings: level, budgets and what to do with an unfiltered dump.
        machine: where programs and threads run.
        vmcore: path of the crashed kernel's memory.
        compression: the compression to ask makedumpfile for.
        limit: the longest that the file may get, or None.
        report: the page report of a dry run, for a dump that is cut before its own report.
        advance: called at the beginning of each bounded step, and whenever the work has advanced.
        cancel_reason: says why, when ``run`` is cancelled.
        seal_s: how long ``run`` may still seal and check what there is, when it is cancelled.
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
        report: PageReport | None = None,
        advance: Callable[[], None] = lambda: None,
        cancel_reason: Callable[[], str] = lambda: "interrupted",
        seal_s: Callable[[], float] = lambda: 10.0,
    ) -> None:
        self._folder = folder
        self._name = name
        self._settings = settings
        self._machine = machine
        self._vmcore = vmcore
        self._limit = limit
        self._report = report
        self._advance = advance
        self._cancel_reason = cancel_reason
        self._seal_s = seal_s
        self._disk = Worker(machine.on_disk)
        self._stream = Stream(
            settings=settings,
            machine=machine,
            vmcore=vmcore,
            compression=compression,
            limit=limit,
            disk=self._disk,
            advance=advance,
        )
        self._conclusion: Conclusion | None = None
        self._failure: Verdict | None = None
        self._surveyed = False
        self._salvaged = False

    @property
    def verdict(self) -> Verdict:
        """What became of the dump, as far as it is decided; once ``run`` is done it does not change."""
        decided = self._conclusion.verdict if self._conclusion is not None else self._failure
        return decided or _RUNNING

    @property
    def time_spent(self) -> bool:
        """True when ``dump.time_s`` ran out."""
        return self._stream.time_spent

    def progress(self) -> Progress:
        """Where it is now."""
        return self._stream.progress()

    async def run(self) -> Verdict:
        """Make the dump; every failure is a verdict. Cancelled, it still seals what it has, bounded."""
        self._folder = self._folder.duplicate()
        try:
            file = await self._open()
            if file is not None:
                self._conclusion = Conclusion(self._folder, file, self._settings)
                await self._make(file, self._conclusion)
        finally:
            if self._conclusion is None and self._failure is None:
                self._failure = Verdict(state="none", why=self._cancel_reason())
            self._disk.afterwards(self._folder.close)
        return self.verdict

    async def _open(self) -> NewFile | None:
        create = partial(self._folder.create, self._name, mode=0o600)
        hangs = f"{self._folder.path} hangs"
        try:
            self._advance()
            with trio.move_on_after(self._settings.stall_s):
                return await self._disk.run(create, undo=self._drop)
            self._failure = Verdict(state="none", why=hangs)
        except OSError as error:
            self._failure = Verdict(state="none", why=f"{self._folder.path}: {trouble(error)}")
        return None

    async def _make(self, file: NewFile, conclusion: Conclusion) -> None:
        """Fill the file and conclude, whatever comes between: an error, a cancel, both in one group."""
        cut: str | None = None
        streamed = False
        try:
            cut = await self._stream.run(file.fd)
            streamed = True
            await self._conclude(file, conclusion, cut)
        except Exception as error:
            cause = innermost(error)
            cut = cut or f"{type(cause).__name__}: {cause}"
            raise
        finally:
            if conclusion.verdict is None:
                why = cut or (None if streamed else self._cancel_reason())
                await self._conclude_in_time(file, conclusion, why)  # noqa: ASYNC102 it shields itself
            await self._let_go(file, conclusion)  # noqa: ASYNC102 it shields itself

    async def _conclude_in_time(self, file: NewFile, conclusion: Conclusion, cut: str | None) -> None:
        """Conclude although nobody waits for the dump any more, in what is left of the time for it."""
        why = cut or "the dump was written, and finishing it took too long"
        try:
            with trio.move_on_after(self._seal_s(), shield=True):
                await self._conclude(file, conclusion, cut)
        finally:
            conclusion.give_up(Verdict(state="none", why=why))

    async def _conclude(self, file: NewFile, conclusion: Conclusion, cut: str | None) -> None:
        """Check, seal or drop, and publish. Each step touches the disk, and is bounded by the stall."""
        hangs = Verdict(state="none", why=f"{cut or 'the dump was written'}; storage does not answer")
        if not await self._is_back():
            conclusion.give_up(hangs)
            return
        report = await self._page_report()
        if cut is not None:
            await self._salvage(file, conclusion, cut, report)
        self._advance()
        with trio.move_on_after(self._settings.stall_s):
            verdict = await self._disk.run(conclusion.prepare, cut, report)
            self._advance()
            await self._disk.run(conclusion.publish, verdict)
            return
        conclusion.give_up(hangs)

    async def _is_back(self) -> bool:
        """Wait for a step of the stream that was left in its thread; False when it hangs on the disk."""
        self._advance()
        with trio.move_on_after(self._settings.stall_s):
            await self._disk.idle()
        return not self._disk.busy

    async def _page_report(self) -> PageReport | None:
        """The pages by class: as makedumpfile reported them, else as a dry run counts them."""
        report = makedumpfile.parse_report(self._stream.messages) or self._report
        if report is None and self._settings.level & makedumpfile.PRIVATE_PAGES and not self._surveyed:
            report = self._report = await survey(
                self._machine, self._settings, self._vmcore, advance=self._advance
            )
            self._surveyed = True  # once: where it hangs, it would hang again
        return report

    async def _salvage(
        self, file: NewFile, conclusion: Conclusion, cut: str, report: PageReport | None
    ) -> None:
        """Add the pages that an analyst needs first, once, if the dump is going to be kept."""
        if not self._stream.writable or self._salvaged:
            return
        self._salvaged = True
        began = trio.current_time()
        within_s = min(_SALVAGE_S, _SALVAGE_PART * (trio.current_effective_deadline() - began))
        with trio.move_on_after(within_s), contextlib.suppress(FormatError, OSError):
            self._advance()
            check = await self._disk.run(conclusion.check)
            worth = judge(check, report, cut, self._settings)
            # Where a look at the file takes long, so does adding to it.
            if worth.state == "incomplete" and trio.current_time() - began < _SALVAGE_PART * within_s:
                limit_bytes = self._limit.size_bytes if self._limit else None
                backfill = conclusion.backfill = Backfill(os.dup(file.fd), check, limit_bytes=limit_bytes)
                await salvage(
                    backfill,
                    self._vmcore,
                    machine=self._machine,
                    disk=self._disk,
                    advance=self._advance,
                )

    async def _let_go(self, file: NewFile, conclusion: Conclusion) -> None:
        """Close the file, and remove one of which nothing came; where the disk hangs, when it comes back."""
        # A thread that still hangs on the disk owns the descriptor: closing it here would let its
        # number be used again under the thread's hands.
        if conclusion.verdict is not None and conclusion.verdict.state != "none":
            self._disk.afterwards(partial(os.close, file.fd))
        elif self._disk.busy:
            self._disk.afterwards(partial(self._drop, file))
        else:
            with trio.move_on_after(self._seal_s() + _DROP_S, shield=True):
                await self._disk.run(self._drop, file)

    def _drop(self, file: NewFile) -> None:
        os.close(file.fd)
        with contextlib.suppress(OSError):
            self._folder.discard(file)
