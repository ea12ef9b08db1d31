"""What a run knows so far, and the two texts that come of it: the reason line and the crash record."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import define, field

from kdumpd.crashes.record import CrashRecord, Log, Phase
from kdumpd.dmesg.panic import Panic
from kdumpd.dump.tools import CrashLog
from kdumpd.dump.verdict import NO_DUMP, Verdict
from kdumpd.version import __version__
from kdumpd.vmcore.headers import Vmcoreinfo

_NO_INFO = Vmcoreinfo(release=None, build_id=None, crash_time_s=None, page_bytes=None, values={})
_NO_LOG = CrashLog(data=b"", tool=None, warnings=())


@define(kw_only=True)
class Evidence:
    """Everything known of one crash, filled in as the run goes on.

    Attributes:
        folder: path of the crash folder, for the reason line.
        dump_wanted: whether a dump belongs to a complete run.
        stamp: the time part of the artefacts' names; empty until storage is ready.
        log_name: the log's file name, once it is durable.
        reasons_written: the reason files say what is known now.
        dump: the dump's verdict so far.
    """

    folder: str
    dump_wanted: bool
    began: float = field(factory=trio.current_time)
    info: Vmcoreinfo = _NO_INFO
    log: CrashLog = _NO_LOG
    panic: Panic | None = None
    stamp: str = ""
    log_name: str | None = None
    reasons_written: bool = False
    dump: Verdict = NO_DUMP
    phases: list[Phase] = field(factory=list)
    budgets_spent: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    tools: dict[str, str] = field(factory=lambda: {"kdumpd": __version__})

    @property
    def dump_name(self) -> str:
        """The dump's file name."""
        return f"kdump-{self.stamp}.dump"

    @property
    def has_dump(self) -> bool:
        """True when a dump stands under its final name."""
        return self.dump.state != "none"

    @property
    def complete(self) -> bool:
        """True when everything that was wanted is there, and the next boot is told so."""
        collected = self.log_name is not None and (self.dump.state == "complete" or not self.dump_wanted)
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
            self.phases.append(
                Phase(
                    name=name,
                    start_s=round(start - self.began, 3),
                    duration_s=round(trio.current_time() - start, 3),
                )
            )

    def reason(self) -> str:
        """The line of ``reboot-reason``."""
        if self.has_dump:
            line = f"kernel panic, kdump collected: {self.folder}/{self.dump_name}"
            return line if self.dump.state == "complete" else f"{line} (incomplete: {self.dump.why})"
        if self.log_name is not None:
            line = f"kernel panic, dmesg collected: {self.folder}/{self.log_name}"
            return f"{line} (no kdump: {self.dump.why})" if self.dump_wanted else line
        return f"kernel panic, nothing collected: {self._why_nothing()}"

    def _why_nothing(self) -> str:
        whys = [*self.log.warnings, *([self.dump.why] if self.dump_wanted and self.dump.why else [])]
        return "; ".join(dict.fromkeys(whys)) or "no log was found"

    def record(self) -> CrashRecord:
        """The crash record as of now."""
        found = self.panic
        return CrashRecord(
            stamp=self.stamp,
            crash_time_s=self.info.crash_time_s,
            release=self.info.release,
            build_id=self.info.build_id,
            cause=found.cause.value if found else "unknown",
            title=found.title if found else None,
            symbol=found.symbol if found else None,
            command=found.command if found else None,
            taint=found.taint if found else None,
            modules=found.modules if found else (),
            frames=found.frames if found else (),
            fingerprint=found.fingerprint if found else None,
            group=found.group if found else None,
            group_title=found.group_title if found else None,
            panic_text=found.text if found else (),
            reason=self.reason(),
            log=Log(name=self.log_name, size_bytes=len(self.log.data), tool=self.log.tool),
            dump_name=self.dump_name if self.has_dump else None,
            dump=self.dump,
            phases=tuple(self.phases),
            budgets_spent=tuple(self.budgets_spent),
            warnings=tuple(self.warnings),
            tools=dict(self.tools),
        )
