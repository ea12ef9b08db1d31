"""The report of the crash that ended a kernel's log: where it starts, and which lines are its own.

The kernel enters its crash handler in one of two places. ``oops_end()`` (arch/x86/kernel/dumpstack.c) does so
after the oops report and *before* any "Kernel panic" line. ``panic()`` (kernel/panic.c) prints that line
first; what it is about stands above it, in the report of a watchdog, or below it, in the trace. Older
reports may have been survived, so it is the last one that counts. A log that went over a serial line goes on
with the next boot.
"""

import re
from collections.abc import Sequence
from typing import Final

from attrs import define, field, frozen

from kdumpd.dmesg.calltrace import read_hung, read_owner
from kdumpd.dmesg.context import body_at, find_context, lines_above, report_before, zfs_panic
from kdumpd.dmesg.heads import FATAL_ALONE, HEAD, TITLED_BY_PANIC, kind_of_message
from kdumpd.dmesg.lines import Line, find_all, read_lines

# What is read of a report: from its first line, and again from the "Kernel panic" line. Between the two
# there may be the backtraces of hundreds of CPUs.
_REPORT_LINES: Final = 8000
_PANIC_LINES: Final = 400
# Of a report whose start was lost, what stands above its "Kernel panic" line.
_LOST_LINES: Final = 100
# Reports that are further apart have nothing to do with each other; khungtaskd looks at least so rarely.
_APART_S: Final = 8
_TIME: Final = re.compile(r"[^\n\[]{0,64}\[ {0,12}(?P<time>\d{1,12})\.\d{1,9}\]", re.ASCII)
# The last line of a kernel that panicked; and of one that is restarted.
_LAST_WORDS: Final = re.compile(r"---\[ end Kernel panic|Rebooting in \d+ seconds")


@frozen(kw_only=True)
class Report:
    """A crash report.

    Attributes:
        kind: ``fault``, or the name of a cause in lower case.
        context: the lines above it that explain it.
        lines: its lines; never empty.
        title: the index in ``lines`` of the line that says best what happened.
        panic: the index of the "Kernel panic" line in ``lines``; their number when there is none.
    """

    kind: str
    context: tuple[Line, ...]
    lines: tuple[Line, ...]
    title: int
    panic: int


@define
class _Boot:
    """What was found of one boot in a log: where the last report of each kind starts, the newest last."""

    heads: dict[str, int] = field(factory=dict)
    earlier_fault: int | None = None
    panic: int | None = None
    above_panic: dict[str, int] = field(factory=dict)
    last_hung: int = 0
    end: int = 0

    def crashed(self) -> bool:
        return self.panic is not None or not FATAL_ALONE.isdisjoint(self.heads)


def find_report(text: str) -> Report | None:
    """Find the report that counts in a decoded log; None when there is none."""
    boot = _last_crash(text)
    if boot is None:
        return None
    if boot.panic is None:
        kind = next(kind for kind in reversed(boot.heads) if kind in FATAL_ALONE)
        return _read(text, boot, kind, boot.heads[kind], boot.end)
    kind = _kind_of(text, boot)
    return _read(text, boot, kind, boot.above_panic.get(_head_of(kind)), boot.panic)


def _last_crash(text: str) -> _Boot | None:
    """Find the last boot in a log that ended in a crash.

    No more is remembered of it than where the last report of each kind starts: a log that is full of such
    lines must not fill the memory.
    """
    boot, last = _Boot(), None
    for found in find_all(HEAD, text):
        kind, start = str(found.lastgroup), found.start()
        if kind == "boot":
            boot.end = start
            boot, last = _Boot(), boot if boot.crashed() else last
        elif kind == "panic":
            boot.panic, boot.above_panic = start, dict(boot.heads)
        else:
            _note(text, boot, kind, start)
    boot.end = len(text)
    return boot if boot.crashed() else last


def _note(text: str, boot: _Boot, kind: str, start: int) -> None:
    """Note where the last report of each kind starts, the kind seen last standing last.

    A fault's report has several lines that could be its first, and ends at the "end trace" line. A fault
    while the first is still being reported is its consequence, so the first one's start counts. So it
    does of the tasks that khungtaskd found in one round.
    """
    first = boot.heads.pop(kind, None)
    goes_on = first is not None and (
        (kind == "fault" and "end" not in boot.heads and not _apart(text, first, start))
        or (kind == "hung_task" and not _apart(text, boot.last_hung, start))
    )
    if kind == "fault" and not goes_on:
        boot.heads.pop("end", None)
        boot.earlier_fault = first
    if kind == "hung_task":
        boot.last_hung = start
    boot.heads[kind] = first if first is not None and goes_on else start


def _apart(text: str, first: int, start: int) -> bool:
    """Tell if so much time is between two lines that they are of two reports."""
    before, after = _TIME.match(text, first), _TIME.match(text, start)
    return bool(before and after) and int(after["time"]) - int(before["time"]) >= _APART_S  # type: ignore[index]


def _read(text: str, boot: _Boot, kind: str, head: int | None, panic: int) -> Report:
    """Read the report that starts at ``head``, or else at the "Kernel panic" line."""
    lost = head is None and kind == "fault"
    start = lines_above(text, panic, _LOST_LINES)[-1] if lost else panic if head is None else head
    report = read_lines(text[start:panic], _REPORT_LINES)
    below = _until_last_words(read_lines(text[panic : boot.end], _PANIC_LINES))
    by_panic = lost or kind in TITLED_BY_PANIC or kind == "atomic"
    return Report(
        kind=kind,
        context=_context(text, boot, kind, start, announced=head is None),
        lines=(*report, *below),
        title=len(report) if below and by_panic else 0,
        panic=len(report),
    )


def _until_last_words(lines: list[Line]) -> list[Line]:
    last = (index for index, line in enumerate(lines) if _LAST_WORDS.match(line.body))
    return lines[: next(last, len(lines)) + 1]


def _context(text: str, boot: _Boot, kind: str, start: int, *, announced: bool) -> tuple[Line, ...]:
    """Read the lines above a report that explain it."""
    first = start
    if kind == "fault":
        before = (boot.earlier_fault, boot.above_panic.get("warning", boot.heads.get("warning")))
        linked = (
            report_before(text, place, start) for place in before if place is not None and place < start
        )
        first = min((place for place in linked if place is not None), default=start)
    if kind == "hung_task":
        head = read_lines(text[start : start + 2048], 1)
        task = read_hung(head[0].body) if head else None
        return zfs_panic(text, start, frozenset() if task is None else frozenset({task.pid or 0}))
    first = find_context(text, first, trouble=announced)
    return tuple(read_lines(text[first:start], _LOST_LINES * 2))


def _head_of(kind: str) -> str:
    return "warning" if kind == "atomic" else kind


def _kind_of(text: str, boot: _Boot) -> str:
    """Tell from the "Kernel panic" line what kind of report belongs to it."""
    assert boot.panic is not None
    kind = kind_of_message(body_at(text, boot.panic))
    fault = boot.above_panic.get("fault") if kind == "killed_init" else None
    # An oops in init kills it: the oops is the cause, the death of init its consequence.
    return "fault" if fault is not None and _is_init(read_lines(text[fault : boot.panic], 600)) else kind


def _is_init(report: Sequence[Line]) -> bool:
    owners = filter(None, (read_owner(line.body) for line in report))
    return next((owner.pid == 1 for owner in owners), False)
