"""Tasks and their backtraces, with source lines, arguments and locals where symbols tell."""

import re
from collections.abc import Iterable
from typing import Any, Final

import drgn
from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.kthread import task_is_kthread
from drgn.helpers.linux.mm import task_rss
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import (
    cpu_curr,
    task_cpu,
    task_since_last_arrival_ns,
    task_state_to_char,
    thread_group_leader,
)

from kdumpd.analysis.core import Core, one_line
from kdumpd.analysis.findings import Frame, Part, Stack, Task, Variable
from kdumpd.analysis.gather import part, parts, text

# How a task left the CPU, or the machine was brought down: not what the task was about.
_LEAVING: Final = re.compile(
    r"__switch_to(_asm)?|context_switch|_*(io_)?schedule(_\w+)?|0x[0-9a-f]+"
    r"|crash_setup_regs|_*crash_kexec|machine_kexec|panic|nmi_panic"
)
_BUILD_FOLDER: Final = re.compile(r"/.{0,200}/linux-\d[^/]{0,40}/")
_VALUE_CHARACTERS: Final = 100
_MOST_FRAMES: Final = 256
# The kernel's half of a 64-bit address space; what is below it is a process's.
_KERNEL_HALF: Final = 1 << 63


def crashed(core: Core) -> Part[Stack]:
    """The task that crashed the kernel, with arguments and locals."""
    return part(lambda: _stack(core, core.program.crashed_thread().object, variables=True))


def running(core: Core, without: Part[Stack]) -> Part[tuple[Stack, ...]]:
    """What the other CPUs were running."""
    shown = {task.pid for task in without.found.tasks if task.pid} if without.found else set()
    found = parts(
        lambda: (cpu_curr(core.program, cpu) for cpu in for_each_online_cpu(core.program)),
        lambda task: _stack(core, task),
    )
    others = [stack for stack in found.found or () if not {task.pid for task in stack.tasks} & shown]
    return Part(found=None if found.found is None else _merged(others), missing=found.missing)


def blocked(core: Core) -> Part[tuple[Stack, ...]]:
    """Every task in uninterruptible sleep; those with one and the same stack together."""
    found = parts(
        lambda: (task for task in for_each_task(core.program) if task_state_to_char(task) == "D"),
        lambda task: _stack(core, task, variables=True),
    )
    return Part(found=None if found.found is None else _merged(found.found), missing=found.missing)


def tasks(core: Core) -> Part[tuple[Task, ...]]:
    """Every task."""
    return parts(lambda: for_each_task(core.program), lambda task: describe(core, task))


def describe(core: Core, task: drgn.Object, frames: Iterable[Frame] | None = None) -> Task:
    """Describe one task."""
    if frames is None:
        frames = part(lambda: _frames(core, core.program.stack_trace(task), variables=False)).found or ()
    where = next((frame.function for frame in frames if not _LEAVING.fullmatch(frame.function)), None)
    return Task(
        pid=task.pid.value_(),
        command=text(task.comm.string_()),
        state=task_state_to_char(task),
        cpu=task_cpu(task),
        kernel_thread=bool(task_is_kthread(task)),
        idle_s=part(lambda: round(task_since_last_arrival_ns(task) / 1e9, 3)).found,
        rss_bytes=part(lambda: _rss_bytes(core, task)).found or 0,
        where=where,
    )


def _rss_bytes(core: Core, task: drgn.Object) -> int:
    # Threads share their process's memory: it is counted once, for the first of them.
    if not task.mm or not thread_group_leader(task):
        return 0
    return int(task_rss(task).total) * int(core.program["PAGE_SIZE"])


def _stack(core: Core, task: drgn.Object, *, variables: bool = False) -> Stack:
    note = None
    try:
        frames = _frames(core, core.program.stack_trace(task), variables=variables)
    except (drgn.FaultError, LookupError, ValueError) as error:
        frames, note = (), one_line(error)
    return Stack(tasks=(describe(core, task, frames),), frames=frames, note=note)


def _merged(stacks: Iterable[Stack]) -> tuple[Stack, ...]:
    """Stacks with the same calls made one; the first one's variables are shown."""
    by_path: dict[tuple[object, ...], list[Stack]] = {}
    for stack in stacks:
        path = tuple((frame.function, frame.source) for frame in stack.frames)
        by_path.setdefault(path or (stack.tasks,), []).append(stack)
    return tuple(
        Stack(
            tasks=tuple(task for stack in same for task in stack.tasks),
            frames=same[0].frames,
            note=same[0].note,
        )
        for same in by_path.values()
    )


def _frames(core: Core, trace: drgn.StackTrace, *, variables: bool) -> tuple[Frame, ...]:
    frames = []
    for frame in list(trace)[:_MOST_FRAMES]:
        pc = part(lambda frame=frame: frame.pc).found  # type: ignore[misc]
        if pc is not None and pc < _KERNEL_HALF:
            break  # the system call came from there; user memory is not in a minimal dump
        frames.append(_frame(core, frame, pc, variables=variables))
    return tuple(frames)


def _frame(core: Core, frame: drgn.StackFrame, pc: int | None, *, variables: bool) -> Frame:
    source = part(frame.source).found
    telling = variables and not _LEAVING.fullmatch(frame.name or "")
    return Frame(
        function=frame.name or ("?" if pc is None else f"{pc:#x}"),
        source=None if source is None else place(source),
        module=module_at(core, pc),
        inlined=bool(frame.is_inline),
        variables=_variables(frame) if telling else (),
    )


def place(source: Any) -> str:  # noqa: ANN401 drgn's tuple of file name, line and column
    """A source location as compilers write it, without the folder that a kernel was built in."""
    return f"{_BUILD_FOLDER.sub('', text(source[0].encode()))}:{source[1]}"


def module_at(core: Core, pc: int | None) -> str | None:
    """The name of the module that an address is in; None for the kernel itself."""
    module = None if pc is None else part(lambda: core.program.module(pc)).found
    return module.name if isinstance(module, drgn.RelocatableModule) else None


def _variables(frame: drgn.StackFrame) -> tuple[Variable, ...]:
    found = (part(lambda name=name: _variable(name, frame[name])).found for name in frame.locals())  # type: ignore[misc]
    return tuple(variable for variable in found if variable)


def _variable(name: str, value: drgn.Object) -> Variable | None:
    if value.absent_ or name == "__func__":
        return None
    shown = text(value.format_(type_name=False, dereference=False, members_same_line=True).encode())
    short = shown if len(shown) <= _VALUE_CHARACTERS else f"{shown[:_VALUE_CHARACTERS]}..."
    return Variable(name=name, type=value.type_.type_name(), value=short)
