"""The call traces of a report: whose they are, where the instruction pointer was, and their frames.

One report has many: of the task that crashed, of every CPU that an NMI reached, of tasks that were dumped,
of ``panic()`` itself. With CONFIG_PRINTK_CALLER each line says who printed it, and the lines of several
CPUs interleave; so the lines of each caller are read by themselves.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs
from attrs import define, field, frozen

from kdumpd.dmesg.functions import is_entry
from kdumpd.dmesg.lines import Line

# arch/x86/kernel/dumpstack.c, arch/arm64/kernel/stacktrace.c; arm64 adds "(P)" and the like after a frame.
_HEADER: Final = re.compile(r"Call [Tt]race:|Backtrace:|Stack traceback:")
# riscv's show_regs() ends with this line, and the frames follow without a header.
_BARE_HEADER: Final = re.compile(r"status: [0-9a-f]{8,16} badaddr: ")
_END: Final = re.compile(
    r"Modules linked in:|---\[ (?:end|cut)|-{4,}\[ cut|Kernel panic - |Kernel Offset:|NMI backtrace for"
    r"|Sending NMI|INFO: |Mem-Info:|Task dump for|task:|Allocated|Freed|Last potentially|Showing |Uninit was"
    r"|Disabling lock|BUG: |Rebooting in|rcu: |The buggy address|Stack dump where"
)
_SYMBOL: Final = r"[A-Za-z_.$][\w.$]{0,255}"
_FRAME: Final = re.compile(
    r"(?P<mark></?[A-Z#][A-Za-z0-9_#]{0,15}>)? *"
    r"(?:(?:\(?\[?<?[0-9a-f]{4,16}>?\]\)? *){0,2}(?P<guess>\? )?"
    rf"\(?(?P<symbol>{_SYMBOL})\+(?P<offset>0x[0-9a-f]{{1,8}})/0x[0-9a-f]{{1,8}}\)?"
    r"(?P<doubt> \(unreliable\))?(?: \[(?P<module>[\w-]{1,64})[^\]]{0,64}\])?)?",
    re.ASCII,
)
# arch/arm/kernel/traps.c: the function, and the call in its caller.
_ARM_FRAME: Final = re.compile(
    rf"(?:\[?<[0-9a-f]{{8}}>\] )?\(?(?P<callee>{_SYMBOL})(?:\+0x[0-9a-f]{{1,8}}/0x[0-9a-f]{{1,8}})?"
    r"(?: \[(?P<callee_module>[\w-]{1,64})\])?\)? from "
    rf"(?:\[?<[0-9a-f]{{8}}>\] )?\(?(?P<symbol>{_SYMBOL})(?:\+0x[0-9a-f]{{1,8}}/0x[0-9a-f]{{1,8}})?"
    r"(?: \[(?P<module>[\w-]{1,64})\])?",
    re.ASCII,
)
# Where the instruction pointer was. show_regs() of x86, arm, arm64, riscv, powerpc and mips, print_mce().
_PLACE: Final = re.compile(
    r"(?:(?:RIP: (?:0010|0018|e030|0008):|E?IP:(?: 00[16]0:)?|E?IP is at|PC is at|epc *:|pc :|NIP:?"
    r"|mce: .{0,40}RIP) ?)"
    rf"(?:.{{0,60}}\{{)?(?:\[<?[0-9a-f]{{1,16}}>?\] *){{0,2}}(?P<symbol>{_SYMBOL})\+0x[0-9a-f]{{1,8}}"
    r"(?:/0x[0-9a-f]{1,8})?(?: \[(?P<module>[\w-]{1,64})[^\]]{0,64}\])?",
    re.ASCII,
)
_USER_PLACE: Final = re.compile(r"(?:mce: .{0,40})?RIP:?(?: !INEXACT!)? (?:00)?33:")
# After these marks of x86 comes what was interrupted.
_INTERRUPTED: Final = frozenset({"</IRQ>", "<EOI>", "<EOE>", "</NMI>"})

_TASK: Final = re.compile(
    r"CPU: (?P<cpu>\d{1,6}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) Comm: (?P<command>.{1,64})"
    r"|Pid: (?P<old_pid>\d{1,10}), comm: (?P<old_command>.{1,64})"
)
_AFTER_COMMAND: Final = re.compile(r" +(?:Kdump: loaded|Not tainted|Tainted: ).*")
_NMI: Final = re.compile(r"NMI backtrace for cpu (?P<cpu>\d{1,6})|Task dump for CPU (?P<task_cpu>\d{1,6}):")
# sched_show_task(), as it is and as it was before 5.11.
_DUMPED: Final = re.compile(
    r"task:(?P<command>.{1,64}?) +state:.{0,80}? pid:(?P<pid>\d{1,10})"
    r"|(?P<old_command>\S.{0,30}?) +[RSDTtXZPIKW](?: +running task)?(?: +on cpu +\d+)?"
    r"(?: +[0-9a-f]{8,16})? {0,40}\d{1,6} +(?P<old_pid>\d{1,10}) +\d{1,10} +0x[0-9a-f]{8,16}",
    re.ASCII,
)
_HUNG: Final = re.compile(r"INFO: task (?P<command>.{1,64}):(?P<pid>\d{1,10}) (?:<.{0,40}>)?blocked")
_GRACE_PERIOD: Final = re.compile(r".{0,40}RCU grace-period kthread stack dump")
_GRACE_PERIOD_TASK: Final = re.compile(r"rcu_(?:preempt|sched|bh|tasks\w*|exp_gp\w*)")
# A trace with so many other lines in it has ended.
_STRANGE_LINES: Final = 60


@frozen(kw_only=True)
class Frame:
    """A function in a trace, and the index of its line in the report."""

    function: str
    module: str | None = None
    line: int = -1


@frozen(kw_only=True)
class Owner:
    """Whose trace it is; None for what no line says."""

    command: str | None = None
    pid: int | None = None
    cpu: int | None = None


@frozen(kw_only=True)
class Trace:
    """A call trace.

    Attributes:
        owner: the task and CPU.
        caller: who printed it.
        start: the index of its first line in the report; that of the owner, where there is one.
        place: where the instruction pointer was, as a line above the trace says.
        in_user: it was in user space.
        grace_period: it is of RCU's own thread, or follows the line that says so.
        sections: its reliable frames by context, innermost first: an interrupt's handler, then what
            it interrupted.
        lines: the indices of its lines.
    """

    owner: Owner = Owner()
    caller: str | None = None
    start: int = 0
    place: Frame | None = None
    in_user: bool = False
    grace_period: bool = False
    sections: tuple[tuple[Frame, ...], ...] = ()
    lines: tuple[int, ...] = ()

    @property
    def frames(self) -> tuple[str, ...]:
        """All reliable frames, innermost first."""
        return tuple(frame.function for section in self.sections for frame in section)


def read_traces(lines: Sequence[Line]) -> tuple[Trace, ...]:
    """Read all call traces of a report, in the order in which they start."""
    streams: dict[str | None, list[int]] = {}
    for index, line in enumerate(lines):
        streams.setdefault(line.caller, []).append(index)
    found = [trace for stream in streams.values() for trace in _read_stream(lines, stream)]
    return tuple(sorted(found, key=lambda trace: trace.start))


def read_owner(body: str) -> Owner | None:
    """Read the line of a report that says whose it is."""
    found = _TASK.search(body)
    if found is None:
        return None
    return Owner(
        command=_AFTER_COMMAND.sub("", found["command"] or found["old_command"]),
        pid=int(found["pid"] or found["old_pid"]),
        cpu=int(found["cpu"]) if found["cpu"] else None,
    )


def read_hung(body: str) -> Owner | None:
    """Read the line with which the report of a hung task begins."""
    found = _HUNG.match(body)
    return Owner(command=found["command"], pid=int(found["pid"])) if found else None


@define
class _Draft:
    """A trace that is being read."""

    owner: Owner = Owner()
    start: int | None = None
    place: Frame | None = None
    in_user: bool = False
    grace_period: bool = False
    is_open: bool = False
    strange_lines: int = 0
    sections: list[list[Frame]] = field(factory=lambda: [[]])
    lines: list[int] = field(factory=list)

    def tells(self) -> bool:
        return any(self.sections) or self.place is not None or self.in_user

    def finish(self, caller: str | None) -> Trace:
        return Trace(
            owner=self.owner,
            caller=caller,
            start=self.start or 0,
            place=self.place,
            in_user=self.in_user,
            grace_period=self.grace_period,
            sections=tuple(map(tuple, self.sections)),
            lines=tuple(self.lines),
        )


def _read_stream(lines: Sequence[Line], stream: Sequence[int]) -> Iterator[Trace]:
    """Read the traces in the lines of one caller."""
    draft, caller = _Draft(), lines[stream[0]].caller
    for index in stream:
        body = lines[index].body
        said = _said(body)
        if draft.tells() and _is_boundary(draft, said):
            yield draft.finish(caller)
            draft = _Draft()
        _add(draft, said, body, index)
    if draft.tells():
        yield draft.finish(caller)


# What a line is to a trace.
_Said = Owner | Frame | str | None


def _said(body: str) -> _Said:
    """Read what a line says about a trace: whose it is, where it was, or the name of a mark."""
    if _HEADER.match(body):
        return "header"
    if _BARE_HEADER.match(body):
        return "bare header"
    if _USER_PLACE.match(body):
        return "user"
    if _GRACE_PERIOD.match(body):
        return "grace period"
    owner = read_owner(body) if "omm: " in body else read_hung(body) or _dumped(body)
    return owner or _read_place(body)


def _is_boundary(draft: _Draft, said: _Said) -> bool:
    """Tell if what a line says is about another trace than the one that is being read."""
    if isinstance(said, Owner):
        return True
    if said == "header":
        return any(draft.sections)
    if said == "grace period":
        return True
    # The place that is said again after a trace is the same, or the next one's.
    return isinstance(said, Frame) and bool(draft.lines) and not draft.is_open


def _add(draft: _Draft, said: _Said, body: str, index: int) -> None:
    if isinstance(said, Owner):
        _add_owner(draft, said)
    elif said in ("header", "bare header"):
        draft.is_open = True
        draft.lines.append(index)
    elif said == "grace period":
        draft.grace_period = True
    elif draft.is_open:
        _add_frame(draft, body, index)
        return
    elif said == "user":
        draft.in_user = True
    elif isinstance(said, Frame):
        draft.place = draft.place or attrs.evolve(said, line=index)
    else:
        return
    draft.start = index if draft.start is None else draft.start


def _add_owner(draft: _Draft, owner: Owner) -> None:
    # "NMI backtrace for cpu 1", then "CPU: 1 PID: ...": the second says more.
    known = draft.owner
    draft.owner = Owner(
        command=owner.command or known.command,
        pid=known.pid if owner.pid is None else owner.pid,
        cpu=known.cpu if owner.cpu is None else owner.cpu,
    )
    draft.is_open = False
    draft.grace_period |= _GRACE_PERIOD_TASK.fullmatch(owner.command or "") is not None


def _add_frame(draft: _Draft, body: str, index: int) -> None:
    if _END.match(body) or draft.strange_lines > _STRANGE_LINES:
        draft.is_open = False
        return
    place = _read_place(body)
    frames = [place] if place else _arm_frames(body)
    mark, guess = None, False
    if not frames:
        found = _FRAME.match(body)
        assert found is not None  # all its parts are optional
        mark, guess = found["mark"], bool(found["guess"] or found["doubt"])
        # At offset 0 a function was not called from: it follows the one whose call never returns.
        is_next = found["offset"] == "0x0" and any(draft.sections)
        guess = guess or is_next
        frames = [Frame(function=found["symbol"], module=found["module"])] if found["symbol"] else []
    if not (mark or frames):
        draft.strange_lines += 1
        return
    draft.strange_lines = 0
    draft.lines.append(index)
    if mark in _INTERRUPTED:
        draft.sections.append([])
    for frame in () if guess else frames:
        draft.sections[-1].append(attrs.evolve(frame, line=index))
        if is_entry(frame.function):
            draft.sections.append([])


def _arm_frames(body: str) -> list[Frame]:
    found = _ARM_FRAME.match(body) if " from " in body else None
    if found is None:
        return []
    return [Frame(function=found["callee"], module=found["callee_module"])]


def _read_place(body: str) -> Frame | None:
    found = _PLACE.match(body)
    return Frame(function=found["symbol"], module=found["module"]) if found else None


def _dumped(body: str) -> Owner | None:
    nmi = _NMI.match(body)
    if nmi:
        return Owner(cpu=int(nmi["cpu"] or nmi["task_cpu"]))
    found = _DUMPED.match(body)
    if found is None:
        return None
    return Owner(command=found["command"] or found["old_command"], pid=int(found["pid"] or found["old_pid"]))
