"""The lines above a report that explain it: what announced it, and what the same task did just before."""

import re
from typing import Final

from kdumpd.dmesg.calltrace import read_owner
from kdumpd.dmesg.lines import Line, read_lines

# The lines above a report that may belong to it: the words of a check, an error that announced a panic.
_NEAR_LINES: Final = 14
_TROUBLE_LINES: Final = 8
# A report that the same task gave just before, with its trace.
_BEFORE_LINES: Final = 150
_END_LINES: Final = 4
# OpenZFS's panic is a line, and a thread that halts; the kernel notices two minutes later.
_ZFS_PANIC: Final = re.compile(r"PANIC at [^\s:]{1,80}:\d{1,6}:[\w.]{1,80}\(\)")
_ZFS_TASK: Final = re.compile(r"Showing stack for process (?P<pid>\d{1,10})")
_ZFS_LINES: Final = 4

_ANNOUNCES: Final = re.compile(
    r"-{4,}\[ cut here|kernel tried to execute|unable to execute userspace code|(?:sysrq: )?SysRq ?: Trigger"
    r"|.{0,40}skb_(?:over|under)_panic|list_(?:add|del)\S{0,20} corruption|.{0,20}usercopy: "
    r"|page ?:[0-9a-f]|page: refcount|head:|page dumped because|raw: [0-9a-f]|flags: 0x|\w{2,8} flags: 0x"
    r"|kasan: |KASAN: |refcount_t: |VERIFY|ASSERT|.{0,40}[Aa]ssertion fail|PANIC at |detected buffer overflow"
    r"|(?:mem|str)\w{2,8}: detected|BUG .{1,60}(?:Tainted|Not tainted)|ODEBUG: |kobject: |DEBUG_LOCKS_WARN_ON"
    r"|BUG: (?:scheduling while|sleeping|Bad )|Preemption disabled at|WARNING: |double-free|object pointer"
    r"|\#PF: |kernel stack overflow|cache_from_obj|kernel BUG|slab .{0,60}(?:start|pointer)|Bad page"
)
_TROUBLE: Final = re.compile(r"\b(?:error|fail|corrupt|can't|cannot|unable|bad)", re.IGNORECASE)


def find_context(text: str, start: int, *, trouble: bool = False) -> int:
    """Find the first of the few lines above a report that belongs to it; ``start`` when none does.

    ``trouble``: the report is a "Kernel panic" line alone, which any error above may have announced.
    """
    above = lines_above(text, start, _TROUBLE_LINES if trouble else _NEAR_LINES)
    bodies = ((line, body_at(text, line)) for line in reversed(above))
    return next((line for line, body in bodies if line < start and _explains(body, trouble=trouble)), start)


def _explains(body: str, *, trouble: bool) -> bool:
    return bool(_ANNOUNCES.match(body) or (trouble and _TROUBLE.search(body)))


def report_before(text: str, before: int, start: int) -> int | None:
    """Where the report at ``before`` starts, if it is of the same task and ends where the next one starts."""
    first = read_lines(text[before:start], _BEFORE_LINES + 1)
    if not first or len(first) > _BEFORE_LINES:
        return None
    near = any(line.body.startswith("---[ end trace") for line in first[-_END_LINES:])
    next_lines = read_lines(text[start : start + (1 << 15)], 40)
    return before if near and _task(first) is not None and _task(first) == _task(next_lines) else None


def zfs_panic(text: str, start: int, pids: frozenset[int]) -> tuple[Line, ...]:
    """The lines with which OpenZFS said why it halted one of these tasks."""
    for found in reversed(list(_ZFS_PANIC.finditer(text, max(start - (1 << 20), 0), start))[-8:]):
        line = text.rfind("\n", 0, found.start()) + 1
        first = lines_above(text, line, 1)[0]
        lines = read_lines(text[first:start], _ZFS_LINES)
        tasks = (_ZFS_TASK.match(one.body) for one in lines)
        if any(int(task["pid"]) in pids for task in tasks if task):
            return tuple(lines[:3])
    return ()


def body_at(text: str, start: int) -> str:
    """The line that starts at ``start``, without its prefix."""
    return "".join(line.body for line in read_lines(text[start : start + 2048], 1))


def lines_above(text: str, start: int, limit: int) -> list[int]:
    """Where the lines above ``start`` start, nearest first; ``start`` itself when there are none."""
    starts = [start]
    while starts[-1] > 0 and len(starts) <= limit:
        starts.append(text.rfind("\n", 0, starts[-1] - 1) + 1)
    return starts[1:] or starts


def _task(lines: list[Line]) -> int | None:
    owners = filter(None, (read_owner(line.body) for line in lines))
    return next((owner.pid for owner in owners), None)
