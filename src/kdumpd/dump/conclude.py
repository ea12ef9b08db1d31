"""What becomes of a written file, decided once: checked, judged, sealed, and under its final name or gone.

Two sides may decide. One is the thread that gives the file its final name; it cannot be stopped while it
hangs in the kernel. The other is whoever waited for it and waits no longer. Whichever comes first under the
lock has decided, for good: a thread that comes back too late takes the name away again. So a dump stands if
and only if the verdict says so, also when a disk that hung comes back after the verdict was given.

    written --check, judge, seal, fsync--> ready --publish--> complete | incomplete
       |                                     |
       +------------- give_up, failure ------+--> none
"""

import contextlib
import threading

from attrs import evolve

from kdumpd import config
from kdumpd.dump import kdumpfile
from kdumpd.dump.backfill import Backfill
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.dump.verdict import Verdict, judge
from kdumpd.errors import FormatError, trouble
from kdumpd.host.folder import Folder, NewFile


class Conclusion:
    """The end of one file. All but ``verdict`` and ``give_up`` blocks on the disk and belongs in a thread.

    Args:
        folder: where the file is.
        file: the file, under its temporary name.
        settings: what is asked of a dump.
    """

    def __init__(self, folder: Folder, file: NewFile, settings: config.DumpSettings) -> None:
        self._folder = folder
        self._file = file
        self._settings = settings
        self._lock = threading.Lock()
        self._verdict: Verdict | None = None
        self._check: kdumpfile.Check | None = None
        self.backfill: Backfill | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What was decided; None while nothing is."""
        return self._verdict

    def give_up(self, verdict: Verdict) -> Verdict:
        """Decide that there is no dump, unless it is decided; returns what is decided. Never blocks."""
        with self._lock:
            if self._verdict is None:
                self._verdict = verdict
            return self._verdict

    def check(self) -> kdumpfile.Check:
        """What the file holds; looked at again where something was added.

        Raises:
            FormatError: it is no kdump file, or a broken one.
            OSError: it cannot be read.
        """
        if self._check is None or (self.backfill is not None and self.backfill.changed):
            self._check = kdumpfile.check(self._file.fd)
        return self._check

    def prepare(self, cut: str | None, report: PageReport | None) -> Verdict:
        """Judge the file, and make what is worth keeping whole and durable under its temporary name."""
        try:
            verdict = self._judge(cut, report)
            if verdict.state == "incomplete":
                kdumpfile.seal(self._file.fd)
            if verdict.state != "none":
                self._folder.sync_file(self._file.fd)
            return verdict
        except (OSError, FormatError) as error:
            told = trouble(error) if isinstance(error, OSError) else error
            why = f"{cut or 'the dump was written'}; finishing it failed: {told}"
            return Verdict(state="none", why=why, report=report)

    def publish(self, verdict: Verdict) -> None:
        """Give the file its final name, or remove it; then decide, unless that is done."""
        if verdict.state == "none" or self._verdict is not None:
            self.give_up(verdict)
            self.discard()
            return
        try:
            self._folder.publish(self._file)
        except OSError as error:
            why = f"{verdict.why or 'the dump was written'}; finishing it failed: {trouble(error)}"
            self.give_up(evolve(verdict, state="none", why=why, size_bytes=0))
            self._withdraw()
            return
        if self.give_up(verdict) is not verdict:
            self._withdraw()

    def discard(self) -> None:
        """Remove the file from under its temporary name."""
        with contextlib.suppress(OSError):
            self._folder.discard(self._file)

    def _withdraw(self) -> None:
        """Take the final name away again: somebody was told that there is no dump."""
        self.discard()
        with contextlib.suppress(OSError):
            self._folder.remove(self._file.name)
            self._folder.sync()

    def _judge(self, cut: str | None, report: PageReport | None) -> Verdict:
        try:
            added = self.backfill.filled if self.backfill else 0
            return evolve(judge(self.check(), report, cut, self._settings), added_pages=added)
        except FormatError as error:
            return Verdict(state="none", why=cut or f"the dump is damaged: {error}", report=report)
