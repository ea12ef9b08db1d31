"""A report as text for a terminal."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from kdumpd.analysis import instruction
from kdumpd.analysis.findings import Disk, Frame, Machine, Memory, Module, Mount, Part, Report, Stack, Task
from kdumpd.crashes.describe import headline, taints
from kdumpd.text import in_columns, moment, printable, size

T = TypeVar("T")

_LOG_LINES: Final = 30
_TASKS: Final = 40
_STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "blocked",
    "I": "idle",
    "T": "stopped",
    "t": "traced",
    "Z": "zombie",
    "X": "dead",
    "P": "parked",
}


def render(report: Report) -> str:
    """The whole report."""
    stacks = [
        _section("Other CPUs", report.running, _stacks),
        _section("Blocked tasks", report.blocked, _stacks),
    ]
    sections = [
        _head(report),
        _lines("Instruction", instruction.lines(report.instruction)) if report.instruction else [],
        _section("Task that crashed", report.crashed, _stack),
        # A hung task is blocked; what crashed is only the kernel thread that found it.
        *(reversed(stacks) if report.record.cause == "hung-task" else stacks),
        _section("Tasks", report.tasks, _tasks),
        _section("Memory", report.memory, _memory),
        _section("Modules", report.modules, _modules),
        _section("Mounts", report.mounts, _mounts),
        _section("Block devices", report.disks, _disks),
        _lines("Last lines of the log", report.log[-_LOG_LINES:]),
        _unreadable(report),
    ]
    return "\n\n".join("\n".join(map(printable, section)) for section in sections if section)


def _unreadable(report: Report) -> list[str]:
    gone = list(report.unreadable().items())
    return _lines("Not to be had from this dump", in_columns(gone).splitlines()) if gone else []


def _head(report: Report) -> list[str]:
    record = report.record
    facts = {
        "crashed": moment(record.crash_time_s),
        "task": record.command,
        "taint": taints(record.taint),
        "fingerprint": record.fingerprint,
        "dump": report.dump,
        "read with": report.tool,
        **_machine(report.machine),
    }
    lines = [headline(record)]
    lines += [f"  at {report.place}"] if report.place else []
    lines += [f"  {record.title}"] if record.title else []
    lines += ["", *(f"  {name:<13}{value}" for name, value in facts.items() if value)]
    return lines + [f"  note         {problem}" for problem in report.problems]


def _machine(part: Part[Machine]) -> dict[str, str | None]:
    machine = part.found
    if machine is None:
        return {}
    load = " ".join(f"{value:.2f}" for value in machine.load)
    return {
        "kernel": machine.version,
        "machine": f"{machine.name}, {machine.cpus} CPUs, up {duration(machine.uptime_s)}, load {load}",
        "command line": machine.command_line,
    }


def _section(title: str, part: Part[T], show: Callable[[T], list[str]]) -> list[str]:
    if part.found is None:
        return []
    note = [f"incomplete: {part.missing}"] if part.missing else []
    return _lines(title, [*(show(part.found) or ["none"]), *note])


def _lines(title: str, lines: Iterable[str]) -> list[str]:
    return [title, *(f"  {line}".rstrip() for line in lines)]


def _stacks(stacks: Sequence[Stack]) -> list[str]:
    return [line for stack in stacks for line in _stack(stack)]


def _stack(stack: Stack) -> list[str]:
    lines = [
        *([who(stack.tasks)] if stack.tasks else []),
        *(line for place, frame in enumerate(stack.frames) for line in _frame(place, frame)),
    ]
    return [*lines, f"  {stack.note}"] if stack.note else lines


def who(tasks: Sequence[Task]) -> str:
    """The tasks that a stack is of; the first few by name."""
    first = tasks[0]
    idle = "" if first.idle_s is None or first.state == "R" else f" for {duration(first.idle_s)}"
    line = f"{first.command} (pid {first.pid}) on CPU {first.cpu}, {state(first)}{idle}"
    others = [f"{task.command} ({task.pid})" for task in tasks[1:6]]
    more = f" and {len(tasks) - 6} more" if len(tasks) > 6 else ""
    return f"{line}; the same: {', '.join(others)}{more}" if others else line


def state(task: Task) -> str:
    """A task's state as a word."""
    return "idle" if task.pid == 0 else _STATES.get(task.state, task.state)


def _frame(place: int, frame: Frame) -> list[str]:
    module = f" [{frame.module}]" if frame.module else ""
    mark = " (inlined)" if frame.inlined else ""
    source = f"  {frame.source}" if frame.source else ""
    line = f"  #{place:<3} {frame.function}{module}{mark}{source}"
    return [line, *(f"         {v.name} = {v.value}" for v in frame.variables)]


def _tasks(tasks: Sequence[Task]) -> list[str]:
    counted = Counter(map(state, tasks))
    counts = ", ".join(f"{count} {name}" for name, count in counted.most_common())
    shown = [task for task in tasks if task.state != "I" and not (task.kernel_thread and task.state == "S")]
    rows = (
        (
            str(t.pid),
            t.state,
            str(t.cpu),
            size(t.rss_bytes) if t.rss_bytes else "-",
            _idle(t),
            t.command,
            t.where or "-",
        )
        for t in shown[:_TASKS]
    )
    table = _table(("PID", "STATE", "CPU", "RSS", "LAST RAN", "COMMAND", "WHERE"), rows, right=(0, 3, 4))
    left = len(tasks) - min(len(shown), _TASKS)
    return [f"{len(tasks)}: {counts}", *table, *([f"{left} others, in the page and in JSON"] if left else [])]


def _idle(task: Task) -> str:
    return "-" if task.idle_s is None else f"{duration(task.idle_s)} ago"


def _memory(memory: Memory) -> list[str]:
    shares = sorted(memory.shares, key=lambda share: -share.size_bytes)
    whole = memory.total_bytes or 1
    lines = [f"{size(memory.total_bytes)} in all, {size(memory.free_bytes)} free"]
    lines += _table(
        ("USED FOR", "SIZE", "SHARE"),
        ((s.name, size(s.size_bytes), f"{100 * s.size_bytes / whole:.1f} %") for s in shares),
        right=(1, 2),
    )
    lines += ["", "slab caches"]
    lines += _table(
        ("CACHE", "OBJECT", "USED", "SIZE"),
        ((c.name, f"{c.object_bytes} B", str(c.used), size(c.size_bytes)) for c in memory.caches),
        right=(1, 2, 3),
    )
    lines += ["", "processes"]
    rows = ((str(t.pid), t.command, size(t.rss_bytes)) for t in memory.processes)
    return lines + _table(("PID", "COMMAND", "RSS"), rows, right=(0, 2))


def _modules(modules: Sequence[Module]) -> list[str]:
    rows = ((m.name, size(m.size_bytes), m.taints or "-", "yes" if m.symbols else "no") for m in modules)
    return _table(("MODULE", "SIZE", "TAINT", "SYMBOLS"), rows, right=(1,))


def _mounts(mounts: Sequence[Mount]) -> list[str]:
    return _table(("SOURCE", "TARGET", "TYPE"), ((m.source, m.target, m.type) for m in mounts))


def _disks(disks: Sequence[Disk]) -> list[str]:
    rows = ((disk.name, size(disk.size_bytes), str(len(disk.requests))) for disk in disks)
    lines = _table(("DEVICE", "SIZE", "IN FLIGHT"), rows, right=(1, 2))
    for disk in disks:
        for request in disk.requests:
            age = "" if request.age_s is None else f", begun {duration(request.age_s)} before"
            what = f"{request.operation} of {size(request.size_bytes)} at sector {request.sector}"
            lines.append(f"{disk.name}: {what}{age}")
    return lines


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    listed = [list(row) for row in rows]
    return in_columns([head, *listed], right=right).splitlines() if listed else []


def duration(seconds: float) -> str:
    """A time span for a person."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
