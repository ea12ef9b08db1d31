"""Task 2 of a run: the log into memory at once; then, on ready storage, evidence in order of its worth.

Reason line, log and stack come first, and say at once what is true should the machine go down. Each step is
durable before the next begins. What can fail or take long, such as room made for a dump, comes after them.
"""

from collections.abc import Callable
from typing import Final

import trio

from kdumpd.config import Config
from kdumpd.crashes.reasons import STACK_BYTES, Reasons
from kdumpd.dmesg.lines import tail
from kdumpd.dmesg.panic import find_panic
from kdumpd.dump import makedumpfile, tools
from kdumpd.dump.job import DumpJob
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.dump.tools import CrashLog, read_log
from kdumpd.errors import DumpError, FormatError, KdumpError, StorageError
from kdumpd.host.machine import Machine
from kdumpd.run.clock import Clock
from kdumpd.run.crashfolder import CrashFolder
from kdumpd.run.state import RunState

# How often the progress of a dump is said.
_PROGRESS_S: Final = 5.0

_WENT_DOWN: Final = "the machine went down while the dump was written"


def missing_wall(config: Config) -> str | None:
    """Say which wall the settings ask for that a dump made by this version would not have; None: it has all.

    A dump that was to be encrypted, or to be kept only without free pages, is not made without that.
    """
    if config.encryption.recipients != ():
        return "it was to be encrypted, which this version cannot do on the device"
    if config.dump.on_unerased == "discard" and config.dump.level & makedumpfile.FREE_PAGES:
        return "free pages on per-CPU lists are not left out by this version, and dump.on_unerased is discard"
    return None


class Collector:
    """Collects one crash.

    Args:
        config: the settings.
        machine: the machine to run on.
        state: what is known; filled in here.
        clock: gives each step its allowance.
        say: puts a line on the console.
        cancel_reason: the words for what a cancel or a failure cut short.

    Attributes:
        log_read: set when the log is in memory, or reading it failed.
    """

    def __init__(
        self,
        config: Config,
        *,
        machine: Machine,
        state: RunState,
        clock: Clock,
        say: Callable[[str], None],
        cancel_reason: Callable[[], str],
    ) -> None:
        self.log_read = trio.Event()
        self._config = config
        self._machine = machine
        self._state = state
        self._clock = clock
        self._say = say
        self._cancel_reason = cancel_reason
        self._capabilities: makedumpfile.Capabilities | None = None
        self._report: PageReport | None = None
        self._arrived = False

    def warn(self, text: str) -> None:
        """Note a warning and say it."""
        self._state.warn(text)
        self._say(text)

    # Without storage.

    async def read_crash(self) -> None:
        """Take VMCOREINFO and the log out of the vmcore; no storage is needed."""
        stall_s = self._config.dump.stall_s
        try:
            with self._state.phase("log"):
                await self._read_vmcoreinfo()
                self._clock.allow(2 * stall_s)  # there are two programs that can read it
                self._state.log = await read_log(
                    self._machine,
                    program=self._config.dump.makedumpfile,
                    vmcore=self._config.vmcore.path,
                    within_s=stall_s,
                )
            for warning in self._state.log.warnings:
                self.warn(warning)
            await self._find_panic()
        except trio.Cancelled:
            if not self._state.log.data:
                self._state.log = CrashLog(data=b"", tool=None, warnings=(self._cancel_reason(),))
            raise
        finally:
            self.log_read.set()

    async def _find_panic(self) -> None:
        """Look for the panic in a thread, between whose steps others have turns. A cancel waits for it.

        Whatever is in a log, the analysis costs itself and nothing else.
        """
        grace_s = self._config.budget.grace_s
        self._clock.allow(grace_s)
        try:
            with trio.move_on_after(grace_s, shield=True) as bound:
                self._state.panic = await self._machine.compute(find_panic, self._state.log.data)
        except Exception as error:
            self.warn(f"looking for the panic in the log failed: {type(error).__name__}: {error}")
        if bound.cancelled_caught:
            self.warn(f"looking for the panic in the log took longer than {grace_s:g} s")

    async def _read_vmcoreinfo(self) -> None:
        path = self._config.vmcore.path
        try:
            with self._clock.step(self._config.dump.stall_s) as bound:
                self._state.info = await self._machine.compute(self._machine.vmcoreinfo, path)
        except FormatError as error:
            self.warn(str(error))
        if bound.cancelled_caught:
            self.warn(f"{path}: reading it hangs")

    async def prepare(self) -> None:
        """Use the wait for storage: learn makedumpfile's abilities and count the pages by class."""
        if not self._config.dump.enabled:
            return
        try:
            await self._probe()
            self._report = await tools.survey(
                self._machine, self._config.dump, self._config.vmcore.path, advance=self._advance
            )
        except DumpError as error:
            self.warn(str(error))

    def _advance(self) -> None:
        self._clock.allow(self._config.dump.stall_s)

    async def _probe(self) -> makedumpfile.Capabilities:
        if self._capabilities is None:
            settings = self._config.dump
            self._advance()
            self._capabilities = await tools.probe(
                self._machine, settings.makedumpfile, within_s=settings.stall_s
            )
            self._state.tools["makedumpfile"] = self._capabilities.version
        return self._capabilities

    # On storage.

    async def save(self, folder: CrashFolder) -> None:
        """Put everything on storage: log, reasons and verdict; then make room; then the dump."""
        self._state.why_no_dump = _WENT_DOWN if self._state.dump_wanted else None
        why_no_dump = await self._put_evidence(folder)
        dump_follows = self._state.dump_wanted and why_no_dump is None
        await self._prune(folder, dump_follows=dump_follows)
        if why_no_dump is not None:
            self._state.why_no_dump = why_no_dump
        elif dump_follows:
            await self._make_dump(folder)

    async def _put_evidence(self, folder: CrashFolder) -> str | None:
        """Open the crash folder and put log and reasons there; returns why there can be no dump, or None."""
        why_no_dump = await self._arrive(folder)
        if why_no_dump is not None:
            self._state.why_no_dump = why_no_dump
        await self._save_log(folder)
        await self._commit(folder)
        return why_no_dump

    async def _arrive(self, folder: CrashFolder) -> str | None:
        state = self._state
        with state.phase("arrival"):
            try:
                arrival = await folder.open(state)
            except StorageError as error:
                self.warn(str(error))
                return str(error)
        self._arrived = True
        state.stamp, state.sequence, state.lived_s = arrival.stamp, arrival.sequence, arrival.lived_s
        for warning in arrival.warnings:
            self.warn(warning)
        return arrival.crash_loop

    async def _save_log(self, folder: CrashFolder) -> None:
        state, name = self._state, f"dmesg-{self._state.stamp}.log"
        if not state.log.data or folder.folder is None:
            return
        with state.phase("log file"):
            try:
                await folder.write(name, state.log.data)
                state.log_name = name
            except StorageError as error:
                self.warn(f"the log was not saved: {error}")

    async def _commit(self, folder: CrashFolder) -> None:
        state = self._state
        with state.phase("reasons"):
            state.reasons_written = False
            reasons = Reasons(
                stack=tail(state.log.data, STACK_BYTES),
                line=state.reason(),
                crash_time_s=state.info.crash_time_s,
            )
            try:
                warning = await folder.commit(reasons)
                state.reasons_written = True
                if warning is not None:
                    self.warn(warning)
            except StorageError as error:
                self.warn(f"the reasons were not written: {error}")

    async def _prune(self, folder: CrashFolder, *, dump_follows: bool) -> None:
        with self._state.phase("room"):
            try:
                for warning in await folder.prune(dump_follows=dump_follows):
                    self.warn(warning)
            except StorageError as error:
                self.warn(f"no room was made: {error}")

    async def _make_dump(self, folder: CrashFolder) -> None:
        try:
            job = self._state.job = await self._begin(folder)
        except KdumpError as error:
            self._state.why_no_dump = str(error)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report_progress, job)
            with self._state.phase("dump"):
                await job.run()
            nursery.cancel_scope.cancel()

    async def _begin(self, folder: CrashFolder) -> DumpJob:
        assert folder.folder is not None
        settings = self._config.dump
        if (wall := missing_wall(self._config)) is not None:
            raise DumpError(wall)
        limit = await folder.limit()
        compression, warning = makedumpfile.choose_compression(settings.compression, await self._probe())
        if warning:
            self.warn(warning)
        return DumpJob(
            folder=folder.folder,
            name=self._state.dump_name,
            settings=settings,
            machine=self._machine,
            vmcore=self._config.vmcore.path,
            compression=compression,
            limit=limit,
            report=self._report,
            advance=self._advance,
            cancel_reason=self._cancel_reason,
            seal_s=self._clock.seal_s,
        )

    async def _report_progress(self, job: DumpJob) -> None:
        while True:
            await trio.sleep(_PROGRESS_S)
            self._say(job.progress().line())

    # At the end.

    def explain(self) -> None:
        """Say why there is no dump, where the run ended before that was known."""
        state = self._state
        if state.job is None and state.dump_wanted and state.why_no_dump in (None, _WENT_DOWN):
            state.why_no_dump = self._cancel_reason()

    async def settle(self, folder: CrashFolder) -> None:
        """Commit the final verdict and the record; first what a cancel or a pause kept from being put."""
        folder.be_patient_again()
        state = self._state
        if not self._arrived:
            await self._arrive(folder)
        if state.log_name is None:
            await self._save_log(folder)
        for name in folder.evicted:
            self.warn(f"there was no room: {name} was removed")
        if state.job is not None and state.job.time_spent:
            state.budgets_spent.append("dump.time_s")
        await self._commit(folder)
        await self._write_record(folder)

    async def _write_record(self, folder: CrashFolder) -> None:
        if folder.folder is None:
            return
        try:
            await folder.write(f"crash-{self._state.stamp}.json", self._state.record().to_json())
        except StorageError as error:
            self.warn(f"the crash record was not written: {error}")
