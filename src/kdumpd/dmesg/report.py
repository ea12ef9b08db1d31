"""The report of the crash that ended a kernel's log: where it starts, and which lines are its own.

The kernel enters its crash handler in one of two places. ``oops_end()`` (arch/x86/kernel/dumpstack.c) does so
after the oops report and *before* any "Kernel panic" line. ``panic()`` (kernel/panic.c) prints that line
first; what it is about stands above it, in the report of a watchdog, or below it, in the trace. Older
reports may have been survived, so it is the last one that counts.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from kdumpd.dmesg.lines import PREFIX, Line, find_all, read_lines

# What is read of a report: from its first line, and again from the "Kernel panic" line. Between the two
# there may be the backtraces of hundreds of CPUs.
_REPORT_LINES: Final = 600
_PANIC_LINES: Final = 400
# The lines above a report that may belong to it: the words of a warning, an error that announced a panic.
_CONTEXT_LINES: Final = 8
# Of a report whose start was lost, what stands above its "Kernel panic" line.
_LOST_LINES: Final = 100

# The first words of a report, by kind. A kind is the name of its cause, but for "fault", which stands for
# four of them, and "end".
_HEADS: Final = {
    "panic": r"Kernel panic - not syncing",
    # oops_exit(), kernel/panic.c
    "end": r"---\[ end trace",
    # kernel/hung_task.c
    "hung_task": r"INFO: task [^\n]{1,64}? blocked (?:in I/O wait )?for more than",
    # kernel/watchdog.c
    "soft_lockup": r"(?:NMI )?(?:watchdog: )?BUG: soft lockup",
    "hard_lockup": r"(?:NMI )?(?:watchdog: )?(?:CPU ?\d{1,6}: )?"
    r"(?:Watchdog detected hard LOCKUP|CPU \d{1,6} Hard LOCKUP)",
    # kernel/rcu/tree_stall.h
    "rcu_stall": r"(?:rcu: )?INFO: rcu_\w{1,30} (?:self-)?detected (?:expedited )?stall",
    # mm/oom_kill.c
    "out_of_memory": r"[^\n]{1,16}? invoked oom-killer:",
    # arch/x86/kernel/nmi.c
    "nmi": r"Uhhuh\. NMI received|NMI: (?:PCI system|IOCK|Memory parity)",
    # arch/x86/kernel/cpu/mce/core.c, drivers/acpi/apei/ghes.c, arch/arm64/kernel/traps.c
    "machine_check": r"(?:mce: )?\[Hardware Error\]: CPU \d{1,6}: Machine Check Exception"
    r"|\{\d{1,10}\}\[Hardware Error\]: Hardware error from APEI|SError Interrupt on CPU",
    # drivers/tty/sysrq.c
    "sysrq": r"(?:sysrq: )?(?:SysRq ?: )?Trigger a crash",
    # lib/bug.c; fault.c, traps.c and dumpstack.c in arch/x86, fault.c and traps.c in arch/arm64
    "fault": r"BUG: (?:kernel NULL pointer|unable to handle|stack guard page|(?:TASK|IRQ) stack guard)"
    r"|Oops: (?=[^\n]{0,200}?\[#\d)|[Kk]ernel BUG at |general protection fault|Internal error: "
    r"|Unable to handle kernel|Unhandled fault: |PANIC: double fault|traps: PANIC: double fault"
    r"|Insufficient stack space|Unexpected kernel BRK"
    r"|(?:divide error|overflow|bounds|invalid opcode|device not available|double fault|invalid TSS"
    r"|segment not present|stack segment|alignment check|int3|control protection fault)"
    r"(?:,[^\n]{0,80}?)?: [0-9a-f]{1,8} \[#",
    # __warn(), kernel/panic.c; KASAN, UBSAN and the like panic with it under panic_on_warn
    "warning": r"WARNING: |BUG: |UBSAN: ",
}
_HEAD: Final = re.compile(
    "^(?=[^\n]{5})"  # no head is shorter; most of the lines of a log full of lines are
    + PREFIX
    + "(?:"
    + "|".join(f"(?P<{kind}>{words})" for kind, words in _HEADS.items())
    + ")",
    re.ASCII | re.MULTILINE,
)
# Reports that make a crash of a log even without a "Kernel panic" line; the others are often survived.
_FATAL_ALONE: Final = frozenset(
    {"fault", "hung_task", "soft_lockup", "hard_lockup", "rcu_stall", "nmi", "machine_check", "sysrq"}
)

# What the "Kernel panic" line says, by kind of the report above it.
_MESSAGE: Final = re.compile(
    r"Kernel panic - not syncing: .{0,200}?(?:"
    r"(?P<fault>Fatal exception|Aiee, killing interrupt handler|Attempted to kill the idle task)"
    r"|(?P<killed_init>Attempted to kill init)"
    r"|(?P<hung_task>hung_task:)"
    r"|(?P<soft_lockup>softlockup:)"
    r"|(?P<hard_lockup>hard LOCKUP|Hard LOCKUP)"
    r"|(?P<rcu_stall>RCU Stall)"
    r"|(?P<out_of_memory>[Oo]ut of memory|System is deadlocked on memory)"
    r"|(?P<machine_check>[Mm]achine [Cc]heck|[Hh]ardware error|broadcast exception handler|SError Interrupt)"
    r"|(?P<nmi>NMI)"
    r"|(?P<sysrq>sysrq triggered crash)"
    r"|(?P<warning>panic_on_warn set))"
)
_PREAMBLE: Final = re.compile(
    r"-{4,}\[ cut here|kernel tried to execute|unable to execute userspace code|(?:sysrq: )?SysRq ?: Trigger"
)
_TROUBLE: Final = re.compile(r"\b(?:error|fail|corrupt|can't|cannot|unable|bad)", re.IGNORECASE)
# Where the panic line says it better than the report's first line.
_TITLED_BY_PANIC: Final = frozenset({"out_of_memory", "nmi", "machine_check", "sysrq"})

_PID: Final = re.compile(r"(?:PID: |Pid: )(?P<pid>\d{1,10})[ ,]", re.ASCII)


@frozen(kw_only=True)
class Report:
    """A crash report.

    Attributes:
        kind: ``fault``, or the name of a cause in lower case.
        context: the lines just above it that explain it.
        lines: its lines; never empty.
        title: the place in ``lines`` of the line that says best what happened.
        panic: the place of the "Kernel panic" line in ``lines``; their number when there is none.
    """

    kind: str
    context: tuple[Line, ...]
    lines: tuple[Line, ...]
    title: int
    panic: int


def find_report(text: str) -> Report | None:
    """Find the report that counts in a decoded log; None when there is none."""
    heads: dict[str, int] = {}
    panic, above_panic = -1, heads
    for found in find_all(_HEAD, text):
        kind = str(found.lastgroup)
        if kind == "panic":
            panic, above_panic = found.start(), dict(heads)
        else:
            _note(heads, kind, found.start())
    if panic < 0:
        last = next((kind for kind in reversed(heads) if kind in _FATAL_ALONE), None)
        return None if last is None else _read(text, last, heads[last], len(text))
    kind = _kind_of(text, panic, above_panic)
    return _read(text, kind, above_panic.get(kind), panic)


def _note(heads: dict[str, int], kind: str, start: int) -> None:
    """Note where the last report of each kind starts, the kind seen last standing last.

    No more is remembered than that: a log that is full of such lines must not fill the memory. A fault's
    report has several lines that could be its first, and ends at the "end trace" line. A fault while the
    first is still being reported is its consequence, so the first one's start counts.
    """
    first = heads.pop(kind, start)
    ended = kind != "fault" or heads.pop("end", None) is not None
    heads[kind] = start if ended else first


def _read(text: str, kind: str, head: int | None, panic: int) -> Report:
    """Read the report that starts at ``head``, or else at the "Kernel panic" line."""
    lost = head is None and kind == "fault"
    start = _above(text, panic, _LOST_LINES)[-1] if lost else panic if head is None else head
    report = read_lines(text[start:panic], _REPORT_LINES)
    below = read_lines(text[panic:], _PANIC_LINES)
    context = _context(text, start, _TROUBLE if head is None else _PREAMBLE)
    return Report(
        kind=kind,
        context=tuple(read_lines(text[context:start], _CONTEXT_LINES)),
        lines=(*report, *below),
        title=len(report) if below and (lost or kind in _TITLED_BY_PANIC) else 0,
        panic=len(report),
    )


def _kind_of(text: str, panic: int, heads: Mapping[str, int]) -> str:
    """Tell from the "Kernel panic" line what kind of report belongs to it."""
    said = _MESSAGE.match(_body_at(text, panic))
    kind = str(said.lastgroup) if said else "panic"
    fault = heads.get("fault") if kind == "killed_init" else None
    # An oops in init kills it: the oops is the cause, the death of init its consequence.
    return "fault" if fault is not None and _is_init(read_lines(text[fault:], _REPORT_LINES)) else kind


def _is_init(report: Sequence[Line]) -> bool:
    pid = next(filter(None, (_PID.search(line.body) for line in report)), None)
    return pid is not None and pid["pid"] == "1"


def _body_at(text: str, start: int) -> str:
    return "".join(line.body for line in read_lines(text[start:], 1))


def _context(text: str, start: int, pattern: re.Pattern[str]) -> int:
    """Find the first of the few lines above a report that has to do with it; ``start`` when none has."""
    above = _above(text, start, _CONTEXT_LINES)
    return next((line for line in reversed(above) if pattern.search(_body_at(text, line))), start)


def _above(text: str, start: int, limit: int) -> list[int]:
    """Where the lines above ``start`` start, nearest first; ``start`` itself when there are none."""
    starts = [start]
    while starts[-1] > 0 and len(starts) <= limit:
        starts.append(text.rfind("\n", 0, starts[-1] - 1) + 1)
    return starts[1:] or starts
