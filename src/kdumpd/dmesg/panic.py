"""What a crashed kernel's log says about the crash: its cause, where it happened, and the text to show."""

import enum
import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from kdumpd.dmesg.carrier import unwrap
from kdumpd.dmesg.fingerprint import fingerprint, read_trace, without_numbers
from kdumpd.dmesg.lines import PREFIX, Line
from kdumpd.dmesg.report import Report
from kdumpd.dmesg.search import last_report

TEXT_LINES: Final = 200
"""The most lines that a panic text has: at 0.2 s a line on a console, 40 s."""

# The banner is among the first messages of a boot.
_BANNER_BYTES: Final = 1 << 16

# Of a trace that recursion made longer, so many lines at its top and at its bottom are kept.
_TRACE_TOP: Final = 80
_TRACE_BOTTOM: Final = 40


class Cause(enum.StrEnum):
    """Why the kernel crashed. The values go into crash records and stay as they are."""

    OOPS = "oops"
    NULL_DEREFERENCE = "null-dereference"
    BUG = "bug"
    GENERAL_PROTECTION_FAULT = "general-protection-fault"
    PANIC = "panic"
    WARNING = "warning"
    HUNG_TASK = "hung-task"
    SOFT_LOCKUP = "soft-lockup"
    HARD_LOCKUP = "hard-lockup"
    RCU_STALL = "rcu-stall"
    OUT_OF_MEMORY = "out-of-memory"
    NMI = "nmi"
    MACHINE_CHECK = "machine-check"
    SYSRQ = "sysrq"
    KILLED_INIT = "killed-init"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class Panic:
    """What a log says about the crash that ended it.

    Attributes:
        cause: the kind of crash.
        title: one line that says what happened, in the kernel's words.
        text: the report, at most ``TEXT_LINES`` lines, safe for a terminal; the call trace is kept.
        symbol: the function in which it happened.
        command: the name of the task (``comm``).
        pid: its process id.
        cpu: the CPU on which it happened; None for a hung task, which is on none.
        taint: the kernel's taint letters, such as ``GOE``; None when not tainted.
        modules: the names of the modules that were loaded, without their flags.
        release: the kernel's release, such as ``6.12.28``.
        frames: functions in the call trace, innermost first; no offsets, no guessed (``?``) ones.
        fingerprint: 16 hex digits, the same for crashes with the same cause and call path.
    """

    cause: Cause
    title: str
    text: tuple[str, ...]
    symbol: str | None
    command: str | None
    pid: int | None
    cpu: int | None
    taint: str | None
    modules: tuple[str, ...]
    release: str | None
    frames: tuple[str, ...]
    fingerprint: str


# Where the code that ran has nothing to do with it: whoever wanted a page, whatever a NMI interrupted.
_FROM_OUTSIDE: Final = frozenset({Cause.OUT_OF_MEMORY, Cause.NMI, Cause.MACHINE_CHECK})
_FOUND_BY_WATCHDOG: Final = frozenset({Cause.SOFT_LOCKUP, Cause.HARD_LOCKUP, Cause.RCU_STALL})

_TASK: Final = re.compile(
    r"CPU: (?P<cpu>\d{1,6}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) Comm: (?P<command>.{1,64})"
    r"|Pid: (?P<old_pid>\d{1,10}), comm: (?P<old_command>.{1,64})"
)
_HUNG: Final = re.compile(r"INFO: task (?P<command>.{1,64}):(?P<pid>\d{1,10}) blocked")
_AFTER_COMMAND: Final = re.compile(r" +(?:Kdump: loaded|Not tainted|Tainted: ).*")
_KERNEL: Final = re.compile(
    r"(?:Not tainted |Tainted: )(?P<taint>[A-Z +-]{0,60}+)(?P<release>\d{1,3}\.\d[^\s,]{0,63})?", re.ASCII
)
_BANNER: Final = re.compile(
    "^" + PREFIX + r"Linux version (?P<release>\d{1,3}\.[!-~]{1,64})", re.ASCII | re.MULTILINE
)
_PLACE: Final = re.compile(
    r"(?:(?:RIP: (?:0010|0018|e030|0008):|E?IP:(?: 00[16]0:)?|E?IP is at|PC is at|pc :|mce: .{0,40}RIP) ?)"
    r"(?:.{0,60}\{)?(?:\[<[0-9a-f]{1,16}>\] *){0,2}(?P<symbol>[A-Za-z_.$][\w.$]{0,255})\+0x",
    re.ASCII,
)
_MODULE: Final = re.compile(r"[A-Za-z0-9_]{1,64}(?:\([A-Z+-]{1,10}\))?")


def find_panic(log: bytes) -> Panic | None:
    """Find the crash that ended this log; None when the log has no sign of one. Any bytes will do."""
    report = last_report(log)
    return None if report is None else _describe(report, _banner(unwrap(log[:_BANNER_BYTES])))


def _describe(report: Report, banner: str | None) -> Panic:
    lines = report.lines
    title = lines[report.title].body
    trace = read_trace(lines, lines[0].caller)
    place = _place(lines[: trace.lines[0]] if trace.lines else lines)
    cause = _cause(report.kind, title, place)
    path = trace.path(interrupted=cause in _FOUND_BY_WATCHDOG)
    symbol = place or next(iter(path), None)
    task = _hung_task(lines[0]) if cause is Cause.HUNG_TASK else _task(lines)
    taint, release = _kernel(lines)
    return Panic(
        cause=cause,
        title=title,
        text=_bounded(report),
        symbol=symbol,
        command=task.command,
        pid=task.pid,
        cpu=task.cpu,
        taint=taint,
        modules=_modules(lines),
        release=release or banner,
        frames=trace.frames,
        fingerprint=_fingerprint(cause, title, symbol, path),
    )


def _fingerprint(cause: Cause, title: str, symbol: str | None, path: tuple[str, ...]) -> str:
    where = path if symbol is None or path[:1] == (symbol,) else (symbol, *path)
    if cause in _FROM_OUTSIDE or not where:
        return fingerprint(cause, without_numbers(title))
    return fingerprint(cause, without_numbers(title) if cause is Cause.PANIC else "", *where)


def _cause(kind: str, title: str, place: str | None) -> Cause:
    if kind != "fault":
        return Cause[kind.upper()]
    if place == "sysrq_handle_crash":  # before 5.x sysrq-c was a NULL dereference made on purpose
        return Cause.SYSRQ
    if "NULL pointer dereference" in title:
        return Cause.NULL_DEREFERENCE
    if "general protection fault" in title:
        return Cause.GENERAL_PROTECTION_FAULT
    return Cause.BUG if re.search(r"[Kk]ernel BUG at |Oops - BUG", title) else Cause.OOPS


@frozen(kw_only=True)
class _Task:
    command: str | None = None
    pid: int | None = None
    cpu: int | None = None


def _task(lines: Sequence[Line]) -> _Task:
    """Read the first line that names a CPU and its task (dump_stack_print_info(), lib/dump_stack.c)."""
    found = next(filter(None, (_TASK.match(line.body) for line in lines)), None)
    if found is None:
        return _Task()
    command = _AFTER_COMMAND.sub("", found["command"] or found["old_command"])
    cpu = int(found["cpu"]) if found["cpu"] else None
    return _Task(command=command, pid=int(found["pid"] or found["old_pid"]), cpu=cpu)


def _hung_task(line: Line) -> _Task:
    found = _HUNG.match(line.body)
    return _Task(command=found["command"], pid=int(found["pid"])) if found else _Task()


def _kernel(lines: Sequence[Line]) -> tuple[str | None, str | None]:
    """Read taint letters and release, which stand together."""
    found = next(filter(None, (_KERNEL.search(line.body) for line in lines)), None)
    if found is None:
        return None, None
    return re.sub(r"[^A-Z]", "", found["taint"]) or None, found["release"]


def _banner(text: str) -> str | None:
    found = _BANNER.search(text)
    return found["release"] if found else None


def _place(lines: Sequence[Line]) -> str | None:
    """Read the function that the instruction pointer was in, from the lines above the call trace."""
    found = next(filter(None, (_PLACE.match(line.body) for line in lines)), None)
    return found["symbol"] if found else None


def _modules(lines: Sequence[Line]) -> tuple[str, ...]:
    """Read the list of modules, which printk breaks into lines of about 1000 characters."""
    words: list[str] = []
    for line in lines:
        if line.body.startswith("Modules linked in:"):
            words = line.body.removeprefix("Modules linked in:").split()
        elif words and all(map(_MODULE.fullmatch, line.body.partition("[last")[0].split())):
            words += line.body.split()
        elif words:
            break
    known = words[: words.index("[last")] if "[last" in words else words
    return tuple(word.partition("(")[0] for word in known if _MODULE.fullmatch(word))


def _bounded(report: Report) -> tuple[str, ...]:
    """Keep title, "Kernel panic" line and their traces, then as much of the rest as there is room for."""
    texts = [line.text for line in report.context + report.lines]
    if len(texts) <= TEXT_LINES:
        return tuple(texts)
    own = read_trace(report.lines, report.lines[0].caller).lines
    trace = (*own[:_TRACE_TOP], *own[-_TRACE_BOTTOM:])
    panics = (report.panic + place for place in read_trace(report.lines[report.panic :]).lines)
    wanted = (len(report.context) + place for place in (report.title, report.panic, *trace, *panics))
    order = dict.fromkeys(place for place in (*wanted, *range(len(texts))) if place < len(texts))
    kept = sorted(list(order)[: TEXT_LINES - 1])
    left_out = len(texts) - len(kept)
    return (*(texts[place] for place in kept), f"({left_out} more lines of this report are in the log)")
