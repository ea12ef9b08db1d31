"""What carried a log to us, taken off its lines: syslog, the journal, dmesg, /dev/kmsg, a serial console.

A log out of a vmcore is the kernel's own. People also have logs that came another way, in which each line
begins with what the carrier knew of it, or with console text that no newline ended. What is left here are
lines as the kernel prints them. A line that the carrier says is a program's stays as it is: a daemon that
quotes a panic is no panic.

The work is done in pieces, so that other threads have turns, and takes time linear in the log.
"""

import re
from typing import Final

from kdumpd.dmesg.lines import LINE_CHARACTERS, decode, pieces

# The kernel's own time, print_time() in kernel/printk/printk.c.
_DELTA: Final = r" {0,12}+\d{1,12}+\.\d{6}"
_SECONDS: Final = rf"{_DELTA}\]"
_TIME: Final = r"\[" + _SECONDS

# "Mar  3 11:22:33", "Tue Mar  3 11:22:33 2026", "2026-03-03T11:22:33.123456+01:00", "1772536953.123456"
_CLOCK: Final = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9}+)?"
_DATE: Final = (
    rf"(?:(?:[A-Z][a-z]{{2}} )?[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}(?: [A-Z]{{3,5}}+)?(?: \d{{4}}(?![\w.-]))?"
    rf"|(?:[A-Z][a-z]{{2}} )?\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:Z| ?[+-]\d\d:?\d\d| [A-Z]{{3,5}}+)?"
    r"|\d{9,11}\.\d{1,9}+)"
)
# Priority and version are of syslog on the wire, RFC 3164 and RFC 5424.
_STAMP: Final = rf"(?:<\d{{1,3}}+>(?:1 )?)?{_DATE}"
_HOST: Final = r"[\w.:-]{1,64}+"
_FACILITY: Final = r"[a-z]{2,8}+\d?"

_LEVEL: Final = "(?:kern {0,4}+:[a-z]{3,6}+ {0,4}+: ?)"

# Each takes what stands before the kernel's own line.
_CARRIERS: Final = (
    # a terminal server; dmesg -T, -e, -d and -x
    rf"{_LEVEL}?\[(?:{_DATE}|[A-Z][a-z]{{2}} {{1,2}}\d{{1,2}} \d\d:\d\d)(?: <{_DELTA}>)?\]:? ?",
    rf"{_LEVEL}?\[(?:{_DELTA} )?(?:<{_DELTA}>| {{0,12}}+\+{_DELTA})\] ?",
    _LEVEL,
    # dmesg --time-format iso
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:\d\d ",
    # rsyslog, syslog-ng, busybox, journalctl
    rf"{_STAMP} (?:{_HOST} )?(?:{_FACILITY}\.[a-z]{{2,8}}+ )?kernel(?:\[\d{{1,10}}+\])?(?: - - -|:) ?",
    # the same without "kernel:": netconsole through a syslog, ts(1)
    rf"{_STAMP}:? (?:{_HOST} )?(?=(?:<\d>)?{_TIME})",
)
# A program's own: another name after the stamp, another facility.
_FOREIGN: Final = (
    rf"{_STAMP} (?:{_HOST} )?[^\s:\[]{{1,64}}+(?:\[\d{{1,10}}+\])?: "
    rf"|{_FACILITY} {{0,4}}:[a-z]{{3,6}}+ {{0,4}}: "
    r"|\d{1,3}+,\d{1,20}+,\d{1,20}+,[^;\n]{1,200}+;"
)
# Console text that no newline ended, up to the kernel's own time.
_GLUED: Final = rf"(?:[^\n\[]|\[(?!{_SECONDS})){{1,200}}(?={_TIME})"

# The same where the kernel prints no times: agetty's prompt.
_PROMPT: Final = rf"{_HOST} login: "

# journalctl -o short-monotonic has the kernel's time before the host.
_MONOTONIC: Final = rf"(?P<time>{_TIME} )(?!kernel){_HOST} kernel: "
# /dev/kmsg, Documentation/ABI/testing/dev-kmsg; netconsole may put the release before it. A priority above 7
# has a facility: a program wrote it.
_KMSG: Final = (
    r"(?:\d{1,3}\.\d[\w.+-]{0,63}+,)?[0-7],\d{1,20}+,(?P<usecs>\d{1,18}+),[^;\n]{0,200}?"
    r"(?:caller=(?P<caller>[TC]\d{1,10}+)[^;\n]{0,200}+)?;"
)

# No line with less than ten characters has a carrier's in it: a log of millions of them takes no time.
_CARRIED: Final = re.compile(
    rf"^(?=[^\n]{{10}})(?!(?:<\d{{1,3}}+>)?{_TIME}(?! {_HOST} kernel: ))"
    rf"(?:{_KMSG}|{_MONOTONIC}|{'|'.join(_CARRIERS)}|(?!{_FOREIGN}){_GLUED}|{_PROMPT})",
    re.ASCII | re.MULTILINE,
)

# Colours and the like (ECMA-48), also as rsyslog and vis(1) spell the escape character.
_ESCAPE: Final = r"(?:\x1b|\\x1b|\#033|\^\[)\[[0-?]{0,32}+[ -/]{0,4}+[@-~]"
_ESCAPES: Final = re.compile(_ESCAPE)
# dmesg and journalctl colour the whole line; within a line of the kernel's it is something that crashed.
_COLOURED: Final = re.compile(
    rf"^(?=[^\n]{{10}})(?=(?:[^\n\x1b]{{0,100}}?kernel: )?{_ESCAPE})[^\n]{{1,{LINE_CHARACTERS}}}+",
    re.MULTILINE,
)


def unwrap(log: bytes, start: int = 0, end: int | None = None) -> str:
    """Decode a part of a log, from line start to line start, without what its carrier added.

    A line longer than ``lines.PIECE_BYTES`` is cut there.
    """
    return "".join(_unwrap(log[first:last]) for first, last in pieces(log, b"\n", start, end))


def _unwrap(piece: bytes) -> str:
    plain = _COLOURED.sub(lambda line: _ESCAPES.sub("", line[0]), decode(piece))
    return _CARRIED.sub(_kernels_own, plain)


def _kernels_own(carrier: re.Match[str]) -> str:
    """The prefix that the kernel itself would print, as far as the carrier tells."""
    if carrier["usecs"] is None:
        return carrier["time"] or ""
    seconds, micros = divmod(int(carrier["usecs"]), 1_000_000)
    caller = f"[{carrier['caller']}] " if carrier["caller"] else ""
    return f"[{seconds:5}.{micros:06}] {caller}"
