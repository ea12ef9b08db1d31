"""What a crashed kernel's log says about the crash: its cause, where it happened, and the text to show."""

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from kdumpd.dmesg.calltrace import Trace, read_traces
from kdumpd.dmesg.carrier import unwrap
from kdumpd.dmesg.causes import TRAITS, Cause
from kdumpd.dmesg.culprit import Culprit, find_culprit
from kdumpd.dmesg.fingerprint import fingerprint, without_numbers
from kdumpd.dmesg.group import find_group
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
        group: 16 hex digits, the same for crashes of one class of fault in one function, whoever called.
        group_title: the group in words, such as ``bad access in igb_get_stats64``.
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
    group: str
    group_title: str


_KERNEL: Final = re.compile(
    r"(?:Not tainted |Tainted: )(?P<taint>[A-Z +-]{0,60}+)(?P<release>\d{1,3}\.\d[^\s,]{0,63})?", re.ASCII
)
_BANNER: Final = re.compile(
    "^" + PREFIX + r"Linux version (?P<release>\d{1,3}\.[!-~]{1,64})", re.ASCII | re.MULTILINE
)
_MODULE: Final = re.compile(r"[A-Za-z0-9_]{1,64}(?:\([A-Z+-]{1,10}\))?")


def find_panic(log: bytes) -> Panic | None:
    """Find the crash that ended this log; None when the log has no sign of one. Any bytes will do."""
    report = last_report(log)
    return None if report is None else _describe(report, _banner(unwrap(log[:_BANNER_BYTES])))


def _describe(report: Report, banner: str | None) -> Panic:
    title = report.lines[report.title].body
    traces = read_traces(report.lines)
    cause = _cause(report.kind, title, traces)
    culprit = find_culprit(report, cause, traces)
    taint, release = _kernel(report.lines)
    group, group_title = find_group(cause, title, culprit)
    return Panic(
        cause=cause,
        title=title,
        text=_bounded(report, culprit.trace, traces),
        symbol=culprit.symbol,
        command=culprit.owner.command,
        pid=culprit.owner.pid,
        cpu=culprit.owner.cpu,
        taint=taint,
        modules=_modules(report.lines),
        release=release or banner,
        frames=culprit.trace.frames,
        fingerprint=_fingerprint(cause, title, culprit),
        group=group,
        group_title=group_title,
    )


def _fingerprint(cause: Cause, title: str, culprit: Culprit) -> str:
    if TRAITS[cause].culprit == "outside" or not culprit.path:
        return fingerprint(cause, without_numbers(title))
    return fingerprint(cause, without_numbers(title) if TRAITS[cause].message else "", *culprit.path)


def _cause(kind: str, title: str, traces: Sequence[Trace]) -> Cause:
    if kind == "atomic":
        return Cause.PANIC
    if kind != "fault":
        return Cause(kind.replace("_", "-"))
    place = traces[0].place if traces else None
    if (
        place and place.function == "sysrq_handle_crash"
    ):  # before 5.x sysrq-c was a NULL dereference on purpose
        return Cause.SYSRQ
    if "NULL pointer dereference" in title:
        return Cause.NULL_DEREFERENCE
    if "general protection fault" in title:
        return Cause.GENERAL_PROTECTION_FAULT
    return Cause.BUG if re.search(r"[Kk]ernel BUG at |Oops - BUG", title) else Cause.OOPS


def _kernel(lines: Sequence[Line]) -> tuple[str | None, str | None]:
    """Read taint letters and release, which stand together."""
    found = next(filter(None, (_KERNEL.search(line.body) for line in lines)), None)
    if found is None:
        return None, None
    return re.sub(r"[^A-Z]", "", found["taint"]) or None, found["release"]


def _banner(text: str) -> str | None:
    found = _BANNER.search(text)
    return found["release"] if found else None


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


def _bounded(report: Report, trace: Trace, traces: Sequence[Trace]) -> tuple[str, ...]:
    """Keep title, "Kernel panic" line and their traces, then as much of the rest as there is room for."""
    texts = [line.text for line in report.context + report.lines]
    if len(texts) <= TEXT_LINES:
        return tuple(texts)
    own = trace.lines
    panic = next((one.lines for one in traces if one.start >= report.panic), ())
    wanted = (report.title, report.panic, *own[:_TRACE_TOP], *own[-_TRACE_BOTTOM:], *panic)
    above = len(report.context)
    order = dict.fromkeys(above + index for index in wanted if above + index < len(texts))
    order |= dict.fromkeys(range(len(texts)))
    kept = sorted(list(order)[: TEXT_LINES - 1])
    left_out = len(texts) - len(kept)
    return (*(texts[index] for index in kept), f"({left_out} more lines of this report are in the log)")
