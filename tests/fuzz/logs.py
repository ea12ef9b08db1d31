"""Targets: the kernel's log, as raw bytes and put together of real lines."""

import functools
import re
from pathlib import Path

from tests.fuzz.cursor import Cursor
from tests.fuzz.target import Target, is_safe

from kdumpd.dmesg import calltrace, panic
from kdumpd.dmesg.lines import LINE_CHARACTERS, decode, last_lines, read_lines, safe_lines, tail

_LOGS = Path(__file__).parent.parent / "data" / "logs"

_RAW_BYTES = 2048
_LINE_BYTES = 1100
# More than the text of a panic has (TEXT_LINES), so that it must be cut.
_LINES = 260
_TRACE_LINES = 40

# What the first two bytes of a step mean, from here on; below, they are the number of a real line.
_RAW = 0xC000
_REPEAT = 0xF000


@functools.cache
def _logs() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(_LOGS.glob("*.log")))


@functools.cache
def _known_lines() -> tuple[bytes, ...]:
    return tuple(sorted({line[:_LINE_BYTES] for log in _logs() for line in log.split(b"\n")}))[:_RAW]


def _panic(case: bytes) -> None:
    found = panic.find_panic(case)
    if found is None:
        return
    assert 0 < len(found.text) <= panic.TEXT_LINES
    assert found.title
    assert re.fullmatch("[0-9a-f]{16}", found.fingerprint)
    assert re.fullmatch("[0-9a-f]{16}", found.group)
    names = filter(None, (found.symbol, found.command, found.taint, found.release))
    shown = (found.title, found.group_title, *found.text, *names, *found.modules, *found.frames)
    assert all(is_safe(text) and len(text) <= LINE_CHARACTERS for text in shown)


def _panic_lines(case: bytes) -> None:
    log = _log_of(case)
    _panic(log)
    for trace in calltrace.read_traces(read_lines(decode(log), _TRACE_LINES)):
        assert len(trace.frames) <= len(trace.lines)


def _log_of(case: bytes) -> bytes:
    """The log that a case stands for, step by step: a real line, raw bytes, or the last lines again."""
    cursor, lines = Cursor(case), list[bytes]()
    while cursor and len(lines) < _LINES:
        step = cursor.number(2)
        if step < _RAW:
            lines.append(_known_lines()[step % len(_known_lines())])
        elif step < _REPEAT:
            lines.append(cursor.take(step % 64))
        else:
            lines += lines[-(step % 16 + 1) :] * (step // 16 % 64)
    return b"\n".join(lines[:_LINES])


def _log_lines(case: bytes) -> None:
    limit = case[0] if case else 0
    lines = safe_lines(case)
    assert all(is_safe(line) and len(line) <= LINE_CHARACTERS for line in lines)
    text = decode(case)
    assert len(lines) == text.count("\n") + (text[-1:] not in ("", "\n"))
    last = last_lines(case, limit)
    assert len(last) <= limit
    assert all(line and is_safe(line) for line in last)
    read = read_lines(decode(case), limit)
    assert all(is_safe(line.text) and line.body in line.text for line in read)
    _require_tail(case, limit)


def _require_tail(log: bytes, limit: int) -> None:
    part = tail(log, limit)
    assert len(part) <= limit
    assert log.endswith(part)
    before = log[: len(log) - len(part)]
    at_line_start = not before or before.endswith(b"\n")
    no_line_start = b"\n" not in log[max(len(log) - limit - 1, 0) : -1]
    assert at_line_start or (no_line_start and len(part) == limit)


def _panic_seeds() -> list[bytes]:
    return [part for log in _logs() for part in (log[-_RAW_BYTES:], log[:_RAW_BYTES])]


def _line_seeds() -> list[bytes]:
    number = {line: index.to_bytes(2, "little") for index, line in enumerate(_known_lines())}
    ends = [log.split(b"\n")[-60:] for log in _logs()]
    return [b"".join(number[line[:_LINE_BYTES]] for line in lines) for lines in ends]


_WORDS = (
    b"Kernel panic - not syncing: ",
    b"Fatal exception",
    b"Attempted to kill init! exitcode=0x00000009",
    b"hung_task: blocked tasks",
    b"softlockup: hung tasks",
    b"Hard LOCKUP",
    b"RCU Stall",
    b"Out of memory",
    b"Machine check",
    b"panic_on_warn set",
    b"sysrq: Trigger a crash",
    b"BUG: kernel NULL pointer dereference, address: 0",
    b"BUG: soft lockup",
    b"Oops: 0002 [#1]",
    b"general protection fault: 0000 [#1]",
    b"kernel BUG at a.c:1!",
    b"WARNING: ",
    b"INFO: task a:1 blocked for more than",
    b"rcu: INFO: rcu_sched self-detected stall",
    b"a invoked oom-killer:",
    b"NMI: PCI system",
    b"mce: [Hardware Error]: CPU 0: Machine Check Exception",
    b"---[ end trace ",
    b"------------[ cut here",
    b"CPU: 0 PID: 1 Comm: a Tainted: G ",
    b"RIP: 0010:f+0x1/0x2",
    b"pc : f+0x1/0x2",
    b"Call Trace:\n",
    b" <IRQ>\n",
    b" </IRQ>\n",
    b" ? f+0x1/0x2\n",
    b"asm_sysvec_a+0x1/0x2\n",
    b"Modules linked in: a(OE) [last unloaded: b]",
    b"Linux version 6.1",
    b"[    1.000000][  T1] ",
    b"[ 1.0][ C1] ",
    b"<4>",
    b"\x1b[2J",
    b"\xff",
    b"\0",
    b"\r",
    b"\t",
)

PANIC = Target(run=_panic, seeds=_panic_seeds, words=_WORDS, max_bytes=_RAW_BYTES)
PANIC_LINES = Target(run=_panic_lines, seeds=_line_seeds, max_bytes=120)
LINES = Target(run=_log_lines, seeds=_panic_seeds, words=_WORDS[-9:], max_bytes=1024)
