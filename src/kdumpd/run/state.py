"""The state of a run: what it knows of the crash so far. The reason line and the crash record come of it.

It has one owner for each part: the collector fills in the crash and the files, the dump's job decides what
became of the dump, and everybody reads it here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio
from attrs import define, field

from kdumpd.config import Config
from kdumpd.crashes.reasons import reason_line
from kdumpd.crashes.record import CrashRecord, Device, Log, Phase
from kdumpd.dmesg.panic import Panic
from kdumpd.dmesg.uptime import uptime_s
from kdumpd.dump.job import DumpJob
from kdumpd.dump.tools import CrashLog
from kdumpd.dump.verdict import NO_DUMP, Verdict
from kdumpd.version import __version__
from kdumpd.vmcore.headers import Vmcoreinfo

_NO_INFO: Final = Vmcoreinfo(release=None, build_id=None, crash_time_s=None, page_bytes=None, values={})
_NO_LOG: Final = CrashLog(data=b"", tool=None, warnings=())


@define(kw_only=True)
class RunState:
    """Everything known of one crash, filled in as the run goes on.

    Attributes:
        config: the settings of the run.
        began: when it began, in trio's time.
        info: the crashed kernel's VMCOREINFO.
        log: the crashed kernel's log.
        panic: what the log says about the crash.
        stamp: the time part of the artefacts' names; empty until storage is ready.
        sequence: the number of this crash on this volume; None until storage is ready.
        lived_s: the uptimes of all crashes up to this one, together.
        log_name: the log's file name, once it is durable.
        reasons_written: the reason files say what is known now.
        job: what makes the dump, once there can be one.
        why_no_dump: why there is none, where no job was begun.
    """

    config: Config
    began: float = field(factory=trio.current_time)
    info: Vmcoreinfo = _NO_INFO
    log: CrashLog = _NO_LOG
    panic: Panic | None = None
    stamp: str = ""
    sequence: int | None = None
    lived_s: float | None = None
    log_name: str | None = None
    reasons_written: bool = False
    job: DumpJob | None = None
    why_no_dump: str | None = None
    phases: list[Phase] = field(factory=list)
    budgets_spent: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    tools: dict[str, str] = field(factory=lambda: {"kdumpd": __version__})

    @property
    def verdict(self) -> Verdict:
        """What became of the dump, as far as it is known."""
        if self.job is not None:
            return self.job.verdict
        return NO_DUMP if self.why_no_dump is None else Verdict(state="none", why=self.why_no_dump)

    @property
    def dump_wanted(self) -> bool:
        """Whether a dump belongs to a complete run."""
        return self.config.dump.enabled

    @property
    def dump_name(self) -> str:
        """The dump's file name."""
        return f"kdump-{self.stamp}.dump"

    @property
    def uptime_s(self) -> float | None:
        """How long the crashed kernel was up."""
        return uptime_s(self.log.data)

    @property
    def complete(self) -> bool:
        """True when everything that was wanted is there, and the next boot is told so."""
        collected = self.log_name is not None and (self.verdict.state == "complete" or not self.dump_wanted)
        return collected and self.reasons_written

    @property
    def crash_time_s(self) -> int:
        """When the kernel crashed, in seconds since 1970; now, when the vmcore does not tell."""
        return int(time.time()) if self.info.crash_time_s is None else self.info.crash_time_s

    def warn(self, text: str) -> None:
        """Note something that went wrong and did not end the run."""
        if text not in self.warnings:
            self.warnings.append(text)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note when a step began and how long it took, whichever way it ends."""
        start = trio.current_time()
        try:
            yield
        finally:
            duration_s = round(trio.current_time() - start, 3)
            self.phases.append(Phase(name=name, start_s=round(start - self.began, 3), duration_s=duration_s))

    def reason(self) -> str:
        """The line of ``reboot-reason``."""
        folder = self.config.crash_folder
        return reason_line(
            self.verdict,
            dump_path=f"{folder}/{self.dump_name}",
            log_path=f"{folder}/{self.log_name}" if self.log_name is not None else None,
            dump_wanted=self.dump_wanted,
            why_no_log=self.log.warnings,
        )

    def record(self) -> CrashRecord:
        """The crash record as of now."""
        verdict = self.verdict
        record = CrashRecord(
            stamp=self.stamp,
            sequence=self.sequence,
            lived_s=self.lived_s,
            crash_time_s=self.info.crash_time_s,
            release=self.info.release,
            build_id=self.info.build_id,
            device=Device(uptime_s=self.uptime_s),
            reason=self.reason(),
            log=Log(name=self.log_name, size_bytes=len(self.log.data), tool=self.log.tool),
            dump_name=self.dump_name if verdict.state != "none" else None,
            dump=verdict,
            phases=tuple(self.phases),
            budgets_spent=tuple(self.budgets_spent),
            warnings=tuple(self.warnings),
            tools=dict(self.tools),
        )
        return record.with_panic(self.panic) if self.panic is not None else record
