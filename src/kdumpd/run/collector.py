"""Task 2 of a run: the log into memory at once; then, on storage that is ready, log, verdict and dump.

Cheap evidence comes first, and each step is durable before the next begins: a power cut in the middle
of the dump leaves the log and reason files that tell the truth.
"""

from collections.abc import Callable
from typing import Final

import trio

from kdumpd.config import Config
from kdumpd.dmesg.panic import find_panic
from kdumpd.dump import makedumpfile, tools
from kdumpd.dump.job import Dump
from kdumpd.dump.tools import CrashLog, read_log
from kdumpd.dump.verdict import NO_DUMP, Verdict
from kdumpd.errors import DumpError, FormatError, KdumpError, StorageError
from kdumpd.host.machine import Machine
from kdumpd.host.watchdog import Lease
from kdumpd.run.crashfolder import CrashFolder
from kdumpd.run.state import Evidence
from kdumpd.storage.gate import Storage

# What the reasons say while the dump is written: the truth, should the machine go down.
_PROVISIONAL: Final = Verdict(state="none", why="the machine went down while the dump was written")

# A few KiB of notes are read: milliseconds.
_VMCOREINFO_S: Final = 5.0
# The worst log that could be made takes 0.2 s a MiB, a usual one 0.05 s.
_PANIC_S: Final = 10.0
_PROGRESS_S: Final = 5.0


class Collector:
    """Collects one crash.

    Args:
        config: the settings.
        machine: the machine to run on.
        evidence: what is known; filled in here.
        lease: renewed while work advances.
        say: puts a line on the console.
        why_cut: the words for what a cancel or a failure cut short.

    Attributes:
        log_read: set when the log is in memory, or is known not to be had.
        crashes: the crash folder, once storage is ready.
    """

    def __init__(
        self,
        config: Config,
        *,
        machine: Machine,
        evidence: Evidence,
        lease: Lease,
        say: Callable[[str], None],
        why_cut: Callable[[], str],
    ) -> None:
        self.log_read = trio.Event()
        self.crashes: CrashFolder | None = None
        self._config = config
        self._machine = machine
        self._evidence = evidence
        self._lease = lease
        self._say = say
        self._why_cut = why_cut
        self._capabilities: makedumpfile.Capabilities | None = None
        self._survey: makedumpfile.PageReport | None = None
        self._log_was_put = False

    def warn(self, text: str) -> None:
        """Note a warning and say it."""
        self._evidence.warn(text)
        self._say(text)

    async def read_crash(self) -> None:
        """Take VMCOREINFO and the log out of the vmcore; no storage is needed."""
        try:
            with self._evidence.phase("log"):
                await self._read_vmcoreinfo()
                self._evidence.log = await read_log(
                    self._machine,
                    program=self._config.dump.makedumpfile,
                    vmcore=self._config.vmcore.path,
                )
            for warning in self._evidence.log.warnings:
                self.warn(warning)
            await self._find_panic()
        except trio.Cancelled:
            self._evidence.log = CrashLog(data=b"", tool=None, warnings=(self._why_cut(),))
            raise
        finally:
            self.log_read.set()

    async def _find_panic(self) -> None:
        """Look for the panic in a thread, between whose steps others have turns. A cancel waits for it."""
        with trio.move_on_after(_PANIC_S, shield=True) as bound:
            try:
                self._evidence.panic = await self._machine.compute(find_panic, self._evidence.log.data)
            except Exception as error:  # whatever is in a log, it may not cost the dump
                self.warn(f"looking for the panic in the log failed: {type(error).__name__}: {error}")
        if bound.cancelled_caught:
            self.warn(f"looking for the panic in the log took longer than {_PANIC_S:g} s")

    async def _read_vmcoreinfo(self) -> None:
        path = self._config.vmcore.path
        try:
            with trio.fail_after(_VMCOREINFO_S):
                self._evidence.info = await self._machine.compute(self._machine.vmcoreinfo, path)
        except FormatError as error:
            self.warn(str(error))
        except trio.TooSlowError:
            self.warn(f"{path}: reading it hangs")

    async def prepare(self) -> None:
        """Use the wait for storage: learn makedumpfile's abilities and count the pages by class."""
        if not self._config.dump.enabled:
            return
        try:
            await self._probe()
            self._survey = await tools.survey(self._machine, self._config.dump, self._config.vmcore.path)
        except DumpError as error:
            self.warn(str(error))

    async def _probe(self) -> makedumpfile.Capabilities:
        if self._capabilities is None:
            self._capabilities = await tools.probe(self._machine, self._config.dump.makedumpfile)
            self._evidence.tools["makedumpfile"] = self._capabilities.version
        return self._capabilities

    async def save(self, storage: Storage) -> None:
        """Put everything on storage: the log, a provisional verdict, the dump."""
        crashes = self.crashes = CrashFolder(storage, self._config, self._machine)
        why_no_dump = await self._put_log(crashes, dump_follows=self._evidence.dump_wanted)
        self._evidence.dump = Verdict(state="none", why=why_no_dump) if why_no_dump else _PROVISIONAL
        await self._commit(crashes)
        if why_no_dump is None and self._evidence.dump_wanted:
            await self._take_dump(crashes)

    async def _put_log(self, crashes: CrashFolder, *, dump_follows: bool) -> str | None:
        """Open the crash folder and put the log there; returns why there can be no dump, or None."""
        why_no_dump = await self._open(crashes, dump_follows=dump_follows)
        await self._save_log(crashes)
        self._log_was_put = True
        return why_no_dump

    async def _open(self, crashes: CrashFolder, *, dump_follows: bool) -> str | None:
        """Open the crash folder; returns why there can be no dump, or None."""
        evidence = self._evidence
        with evidence.phase("room"):
            try:
                arrived = await crashes.open(evidence, dump_follows=dump_follows)
            except StorageError as error:
                self.warn(str(error))
                return str(error)
        evidence.stamp = arrived.stamp
        for warning in arrived.warnings:
            self.warn(warning)
        if arrived.left_over:
            self.warn(f"an earlier run was cut off; removed {', '.join(arrived.left_over)}")
        return arrived.crash_loop

    async def _save_log(self, crashes: CrashFolder) -> None:
        evidence, name = self._evidence, f"dmesg-{self._evidence.stamp}.log"
        if not evidence.log.data or crashes.folder is None:
            return
        with evidence.phase("log file"):
            try:
                await crashes.write(name, evidence.log.data)
                evidence.log_name = name
            except StorageError as error:
                self.warn(f"the log was not saved: {error}")

    async def _commit(self, crashes: CrashFolder) -> None:
        with self._evidence.phase("reasons"):
            self._evidence.reasons_written = False
            try:
                await crashes.commit(self._evidence)
                self._evidence.reasons_written = True
            except StorageError as error:
                self.warn(f"the reasons were not written: {error}")

    async def _take_dump(self, crashes: CrashFolder) -> None:
        try:
            taking = await self._begin(crashes)
        except KdumpError as error:
            self._evidence.dump = Verdict(state="none", why=str(error))
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report_progress, taking)
                with self._evidence.phase("dump"):
                    await taking.take()
                nursery.cancel_scope.cancel()
        finally:
            self._evidence.dump = taking.verdict

    async def _begin(self, crashes: CrashFolder) -> Dump:
        assert crashes.folder is not None
        settings = self._config.dump
        limit = await crashes.limit()
        compression, warning = makedumpfile.choose_compression(settings.compression, await self._probe())
        if warning:
            self.warn(warning)
        return Dump(
            folder=crashes.folder,
            name=self._evidence.dump_name,
            settings=settings,
            machine=self._machine,
            vmcore=self._config.vmcore.path,
            compression=compression,
            limit=limit,
            survey=self._survey,
            advance=lambda: self._lease.renew(settings.stall_s),
            interrupted=self._why_cut,
            seal_s=self._config.budget.grace_s / 2,
        )

    async def _report_progress(self, taking: Dump) -> None:
        while True:
            await trio.sleep(_PROGRESS_S)
            self._say(taking.progress().line())

    async def settle(self, storage: Storage | None) -> None:
        """Commit the final verdict and the record; what a cancel kept from being put down comes first."""
        if self._evidence.dump in (NO_DUMP, _PROVISIONAL):
            self._evidence.dump = Verdict(state="none", why=self._why_cut())
        if self.crashes is None and storage is not None:
            self.crashes = CrashFolder(storage, self._config, self._machine)
        if self.crashes is None:
            return
        if not self._log_was_put:
            await self._put_log(self.crashes, dump_follows=False)
        await self._commit(self.crashes)
        await self._write_record(self.crashes)

    async def _write_record(self, crashes: CrashFolder) -> None:
        if crashes.folder is None:
            return
        try:
            await crashes.write(f"crash-{self._evidence.stamp}.json", self._evidence.record().to_json())
        except StorageError as error:
            self.warn(f"the crash record was not written: {error}")
