"""The function that did it, and whose trace tells.

By kind of report: where the instruction pointer was, unless that is the kernel's own reporting, a check or
a helper that fails by what it was given; for a task that hangs, below the locks and the scheduler; for a
CPU that does not answer, in its own trace and no other's.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import field, frozen

from kdumpd.dmesg.calltrace import Frame, Owner, Trace, read_hung, read_owner
from kdumpd.dmesg.causes import TRAITS, Cause
from kdumpd.dmesg.functions import is_plain, is_reporter, is_telling, is_wait, says_wait, without_suffix
from kdumpd.dmesg.report import Report

_SYMBOL: Final = r"(?P<symbol>[A-Za-z_.$][\w.$]{0,255})\+0x"
# What a title says of the function: __warn(), kasan_report(), kfence_report_error(), __stack_chk_fail().
_NAMED: Final = re.compile(
    rf"(?:WARNING: .{{0,200}}? at .{{1,200}}? |BUG: K[A-Z]+SAN: .{{1,80}}? in |BUG: KFENCE: .{{1,80}}? in "
    rf"|.{{0,80}}Kernel stack is corrupted in: ){_SYMBOL}",
    re.ASCII,
)
_ZFS_NAMED: Final = re.compile(r"PANIC at [^\s:]{1,80}:\d{1,6}:(?P<symbol>[\w.]{1,80})\(\)")
_LOCKUP: Final = re.compile(
    r".{0,40}(?:CPU ?\#|hard LOCKUP on cpu |CPU ?(?=\d+:? (?:Hard|Watchdog)))(?P<cpu>\d{1,6})"
    r"(?:.{0,40}\[(?P<command>.{1,64}):(?P<pid>\d{1,10})\])?",
    re.ASCII,
)
_PANIC_LOCKUP: Final = re.compile(r"Kernel panic - .{0,60}LOCKUP on cpu (?P<cpu>\d{1,6})", re.ASCII)
# print_cpu_stall_info(), kernel/rcu/tree_stall.h, and the tasks that a grace period waits for.
_STALLED_CPU: Final = re.compile(r"(?:rcu: )?(?P<cpu>\d{1,6})(?:-[.\w!?]{1,12})?: \(", re.ASCII)
_STALLED_CPUS: Final = re.compile(r"(?:rcu: )?INFO: rcu_.{0,80}?\{(?P<cpus>[^}]{1,200})\}", re.ASCII)
_STALLED_TASK: Final = re.compile(r"\bP(?P<pid>\d{1,10})\b", re.ASCII)
_BLOCKED_TASKS: Final = re.compile(r"(?:rcu: )?Tasks blocked on|.{0,20}\{.{0,80}\bP\d")
_MCE_IN_USER: Final = re.compile(r"mce: .{0,40}RIP(?: !INEXACT!)? (?:00)?33:")
_STALL_LINES: Final = 60
_SWITCH: Final = re.compile(r"_*(?:preempt_)?schedule|_*cond_resched")
_IDLE: Final = re.compile(r"swapper/\d+")


@frozen(kw_only=True)
class Culprit:
    """Who did it.

    Attributes:
        symbol: the function; None where no line tells.
        module: the module that it is of.
        path: the frames from it on that tell where it was called, in one context.
        trace: the trace that tells; one without frames when there is none.
        owner: the task and CPU.
    """

    symbol: str | None = None
    module: str | None = None
    path: tuple[str, ...] = ()
    trace: Trace = field(factory=Trace)
    owner: Owner = field(factory=Owner)


def find_culprit(report: Report, cause: Cause, traces: Sequence[Trace]) -> Culprit:
    """Find the function that did it."""
    kind = TRAITS[cause].culprit
    if kind == "waits":
        return _waiting(report, traces)
    if kind == "stalls":
        return _stalled(report, cause, traces)
    if kind == "outside":
        return _interrupted(report, traces)
    trace = _own_trace(report, cause, traces)
    owner = trace.owner if trace.owner != Owner() else _first_owner(report)
    telling = _is_no_reporter if cause in (Cause.SYSRQ, Cause.KILLED_INIT) else _can_fault
    return _named(report, cause, _found(trace, telling, owner))


def _interrupted(report: Report, traces: Sequence[Trace]) -> Culprit:
    """What ran when the machine, not the code, gave up; nothing where it was a program."""
    trace = _first([trace for trace in traces if any(trace.sections)] or traces)
    owner = trace.owner if trace.owner != Owner() else _first_owner(report)
    if _was_in_user(report, trace):
        return Culprit(trace=trace, owner=owner)
    place = next((trace.place for trace in traces if trace.place is not None), None)
    if place is not None:
        return Culprit(symbol=place.function, module=place.module, trace=trace, owner=owner)
    return _found(trace, _is_no_reporter, owner)


def _own_trace(report: Report, cause: Cause, traces: Sequence[Trace]) -> Trace:
    """The trace of the task that crashed: the first with frames of the caller that reports."""
    caller = report.lines[report.title].caller
    own = [trace for trace in traces if trace.caller == caller] or list(traces)
    if cause in (Cause.PANIC, Cause.KILLED_INIT):
        return next((trace for trace in own if trace.start >= report.panic and trace.sections), _first(own))
    known = [trace for trace in own if any(trace.sections)] or own
    lost = report.title == report.panic and [trace for trace in known if trace.start < report.panic]
    return lost[-1] if lost else _first(known)


def _first(traces: Sequence[Trace]) -> Trace:
    return traces[0] if traces else Trace()


def _was_in_user(report: Report, trace: Trace) -> bool:
    return trace.in_user or any(_MCE_IN_USER.match(line.body) for line in report.lines[:60])


def _found(
    trace: Trace, telling: Callable[[Frame], bool], owner: Owner, *, interrupted: bool = False
) -> Culprit:
    """Find the first function of a trace that tells."""
    sections = list(_contexts(trace, interrupted=interrupted))
    chosen = next(((section, frame) for section in sections for frame in section if telling(frame)), None)
    if chosen is None:  # all of it is machinery: the innermost is better than nothing
        chosen = next(((s, f) for s in sections for f in s if is_plain(f.function)), None)
    if chosen is None:
        return Culprit(trace=trace, owner=owner)
    section, frame = chosen
    path = [below.function for below in section[section.index(frame) :] if is_plain(below.function)]
    return Culprit(symbol=frame.function, module=frame.module, path=tuple(path), trace=trace, owner=owner)


def _contexts(trace: Trace, *, interrupted: bool) -> Iterator[tuple[Frame, ...]]:
    """The frames of a trace by context, the place of the instruction pointer first of the first."""
    sections = [section for section in trace.sections if section]
    if interrupted and sections and any(is_reporter(frame.function) for frame in sections[0]):
        sections = sections[1:]
    if trace.place is not None:
        first = sections[0] if sections else ()
        sections = [(trace.place, *first), *sections[1:]]
    yield from sections


def _named(report: Report, cause: Cause, found: Culprit) -> Culprit:
    """Take the function that the report's first line names, unless it is a check."""
    if cause not in (Cause.WARNING, Cause.PANIC):
        return found
    named = _NAMED.match(report.lines[report.title].body)
    if named is None and cause is Cause.PANIC:
        said = (_ZFS_NAMED.match(line.body) for line in (*report.context, *report.lines[:8]))
        named = next(filter(None, said), None)
    if named is None or not _can_fault(Frame(function=named["symbol"])):
        return found
    names = [without_suffix(name) for name in found.trace.frames]
    if without_suffix(named["symbol"]) not in names:
        return Culprit(
            symbol=named["symbol"], path=(named["symbol"], *found.path), trace=found.trace, owner=found.owner
        )
    return _found(
        found.trace,
        lambda frame: without_suffix(frame.function) == without_suffix(named["symbol"]),
        found.owner,
    )


def _waiting(report: Report, traces: Sequence[Trace]) -> Culprit:
    """The task that the first line names, below the locks and waits."""
    hung = read_hung(report.lines[0].body) or Owner()
    own = [trace for trace in traces if trace.owner.pid == hung.pid and trace.start < report.panic]
    near = [trace for trace in traces if not trace.grace_period and not _only_detects(trace)]
    return _found(_first(own or near), _can_hang, hung)


def _stalled(report: Report, cause: Cause, traces: Sequence[Trace]) -> Culprit:
    """The CPU or task that is blamed, in its own trace."""
    blamed = _blamed(report, cause)
    usable = [trace for trace in traces if not trace.grace_period and not _only_detects(trace)]
    own = [trace for one in blamed for trace in usable if _is_of(trace, one)]
    busy = [trace for trace in own if not _IDLE.fullmatch(trace.owner.command or "")] or own
    if busy:
        owner = _merged(busy[0].owner, blamed[0])
        return _found(busy[0], _can_stall, owner, interrupted=True)
    if blamed:
        return Culprit(owner=blamed[0])
    trace = _first(usable)
    return _found(trace, _can_stall, trace.owner, interrupted=True)


def _is_no_reporter(frame: Frame) -> bool:
    return is_plain(frame.function)


def _can_fault(frame: Frame) -> bool:
    return is_telling(frame.function) and not is_wait(frame.function)


def _can_hang(frame: Frame) -> bool:
    # A driver's own wait tells; one of the kernel's says that something waits.
    general = frame.module is None and says_wait(frame.function)
    return _can_fault(frame) and not general


def _can_stall(frame: Frame) -> bool:
    return is_telling(frame.function) and _SWITCH.match(frame.function) is None


def _only_detects(trace: Trace) -> bool:
    return "khungtaskd" in (trace.owner.command or "")


def _is_of(trace: Trace, blamed: Owner) -> bool:
    if blamed.pid is not None and blamed.cpu is None:
        return trace.owner.pid == blamed.pid
    return trace.owner.cpu == blamed.cpu


def _merged(found: Owner, blamed: Owner) -> Owner:
    return Owner(
        command=found.command or blamed.command,
        pid=blamed.pid if found.pid is None else found.pid,
        cpu=blamed.cpu if found.cpu is None else found.cpu,
    )


def _blamed(report: Report, cause: Cause) -> list[Owner]:
    """The CPUs, then the tasks, that a report says do not answer."""
    if cause is Cause.RCU_STALL:
        return _stalled_owners(report)
    for line in (report.lines[report.title], *report.lines[report.panic : report.panic + 1]):
        found = _LOCKUP.match(line.body) or _PANIC_LOCKUP.match(line.body)
        if found:
            words = found.groupdict()
            pid = int(words["pid"]) if words.get("pid") else None
            return [Owner(cpu=int(found["cpu"]), pid=pid, command=words.get("command"))]
    return []


def _stalled_owners(report: Report) -> list[Owner]:
    cpus, pids = list[int](), list[int]()
    for line in report.lines[:_STALL_LINES]:
        if "kthread starved" in line.body or "NMI backtrace" in line.body or "Call " in line.body[:5]:
            break
        one, several = _STALLED_CPU.match(line.body), _STALLED_CPUS.match(line.body)
        cpus += [int(one["cpu"])] if one else []
        if several:
            cpus += [
                int(word) for word in re.findall(r"(?<![\w-])(\d{1,6})(?:-[^ ]*)?(?![\w])", several["cpus"])
            ]
        if _BLOCKED_TASKS.match(line.body):
            pids += [int(pid) for pid in _STALLED_TASK.findall(line.body)]
    return [
        *(Owner(cpu=cpu) for cpu in dict.fromkeys(cpus)),
        *(Owner(pid=pid) for pid in dict.fromkeys(pids)),
    ]


def _first_owner(report: Report) -> Owner:
    return next(filter(None, (read_owner(line.body) for line in report.lines)), Owner())
