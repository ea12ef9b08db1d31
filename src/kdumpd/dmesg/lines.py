"""The kernel log as text: its lines, their prefixes, and what of it a terminal may be shown.

A log out of a crashed machine is not to be trusted: it holds whatever programs wrote to ``/dev/kmsg``,
and memory that was overwritten. Nothing here raises for any bytes, and all of it is linear in their number.
"""

import re
from collections.abc import Iterator
from typing import AnyStr, Final

from attrs import frozen

from kdumpd.text import escape

LINE_CHARACTERS = 1024
"""A longer line is cut here; printk's own limit is about as much (LOG_LINE_MAX in kernel/printk)."""

PIECE_BYTES: Final = 1 << 15
"""So much of a log is searched at once: a regular expression keeps all other threads waiting."""

PREFIX = (
    r"(?>(?:<\d{1,3}+>)?)(?>(?:\[ {0,12}+\d{1,12}+\.\d{1,9}+\] ?+)?)"
    r"(?>(?:\[ {0,12}+(?P<caller>[TC]\d{1,10}+)\] ?+)?) {0,64}+"
)
"""What may stand before a message: level, time, caller (CONFIG_PRINTK_CALLER: task or CPU), indentation."""
# No part of it gives back what it has taken (the "?>" and the "+" of single characters), so that a line of
# blanks takes no time. A group with a "+" (as in "(...)?+") would say so more shortly, but Python before
# 3.11.5 leaves what such a group had read of a text that it does not match.

_PREFIX = re.compile(PREFIX, re.ASCII)


@frozen(kw_only=True)
class Line:
    """One line of a log, safe for a terminal: whole (``text``), and without its prefix (``body``)."""

    text: str
    body: str
    caller: str | None


def decode(log: bytes) -> str:
    """Give one character for each byte; NULs and carriage returns, which say nothing, are left out."""
    return log.translate(None, b"\0\r").decode("latin-1")


def read_lines(text: str, limit: int) -> list[Line]:
    """Read the first ``limit`` lines of a decoded log; blank ones are counted and left out."""
    return [_read_line(raw) for raw in text.split("\n", limit)[:limit] if raw and not raw.isspace()]


def pieces(log: AnyStr, newline: AnyStr, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Where the pieces of a log start and end: whole lines, at most ``PIECE_BYTES``.

    Of a longer line the rest is left out; nobody shows it.
    """
    end = len(log) if end is None else end
    while start < end:
        limit = min(start + PIECE_BYTES, end)
        last = log.rfind(newline, start, limit) + 1 or limit
        yield start, last
        is_cut = last == limit < end and log[last - 1 : last] != newline
        start = log.find(newline, last, end) if is_cut else last
        start = end if start < 0 else start


def find_all(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """All matches of a pattern that matches within one line, found in pieces."""
    for start, end in pieces(text, "\n"):
        yield from pattern.finditer(text, start, end)


def safe_lines(log: bytes) -> tuple[str, ...]:
    r"""All lines of a log in printable ASCII: other bytes become ``\xNN``, long lines are cut."""
    lines = decode(log).split("\n")
    return tuple(map(_safe, lines if lines[-1] else lines[:-1]))


def last_lines(log: bytes, limit: int) -> tuple[str, ...]:
    """The last ``limit`` lines that are not blank, safe: what to show when no panic is recognised."""
    lines = decode(log).rstrip().rsplit("\n", 2 * limit)[-2 * limit :]
    shown = [safe for line in lines if not line.isspace() and (safe := _safe(line))]
    return tuple(shown[max(len(shown) - limit, 0) :])


def tail(log: bytes, limit: int) -> bytes:
    """The last part of a log, at most ``limit`` bytes, cut at a line start.

    Where the last ``limit`` bytes hold no line start they are kept all the same: half a line is evidence.
    """
    if len(log) <= limit:
        return log
    start = len(log) - limit
    newline = log.find(b"\n", start - 1, len(log) - 1)
    return log[start:] if newline < 0 else log[newline + 1 :]


def _read_line(raw: str) -> Line:
    text = _safe(raw)
    prefix = _PREFIX.match(text)
    assert prefix is not None  # it matches the empty text
    return Line(text=text, body=text[prefix.end() :].strip(), caller=prefix["caller"])


def _safe(line: str) -> str:
    return escape(line[:LINE_CHARACTERS].expandtabs())[:LINE_CHARACTERS].rstrip()
