"""The search for the report that ended a log, however far from the log's end it stands.

A machine writes on after a crash that it survived, and a console's log goes on with the next boot. So the
log is searched from its end back, a part at a time: memory does not grow with the log, and of two crashes
the later one is found.
"""

from typing import Final

from kdumpd.dmesg.carrier import unwrap
from kdumpd.dmesg.report import Report, find_report

PART_BYTES: Final = 1 << 20
"""So much is searched at a time, and read above what is found: the backtraces of some 250 CPUs."""


def last_report(log: bytes) -> Report | None:
    """Find the last report of a log; None when there is none."""
    end = len(log)
    while end > 0:
        start = _line_start(log, end - PART_BYTES)
        report = find_report(unwrap(log, start, end))
        if report is not None:
            return report if (start, end) == (0, len(log)) else _whole(log, start, end)
        end = start
    return None


def _whole(log: bytes, start: int, end: int) -> Report | None:
    """Read the report that is in this part again, with what may belong to it above and below."""
    above = _line_start(log, start - PART_BYTES)
    below = _line_start(log, end + PART_BYTES) if end + PART_BYTES < len(log) else len(log)
    return find_report(unwrap(log, above, max(below, end)))


def _line_start(log: bytes, place: int) -> int:
    """The start of the line that ``place`` is in."""
    return log.rfind(b"\n", 0, max(place, 0)) + 1
