"""One crash examined: every question put to its dump, the answers in one report."""

from collections.abc import Iterable
from typing import Final

import drgn
from drgn.helpers.linux.printk import get_dmesg

from kdumpd.analysis import instruction, logtrace, machine, memory, stacks
from kdumpd.analysis.core import open_core
from kdumpd.analysis.findings import Part, Report, Stack, base_name
from kdumpd.analysis.gather import part
from kdumpd.analysis.progress import Progress
from kdumpd.analysis.subject import Subject
from kdumpd.crashes.describe import describe_dump
from kdumpd.crashes.inventory import read_log
from kdumpd.dmesg.lines import safe_lines

_NO_DUMP: Final = "there is no dump, only a log"


def examine(subject: Subject, progress: Progress) -> Report:
    """Read everything that the report has; what is missing is said in its sections.

    Raises:
        FormatError: there is a dump, and drgn cannot open it.
    """
    if subject.dump is None:
        return _from_log_alone(subject)
    core = open_core(subject.dump.path, subject.symbols, progress)
    progress.step("reading stacks")
    crashed = _or_from_log(stacks.crashed(core), subject)
    running = stacks.running(core, crashed)
    blocked = stacks.blocked(core)
    progress.step("reading tasks and memory")
    tasks = stacks.tasks(core)
    return Report(
        record=subject.crash.record,
        dump=describe_dump(subject.crash),
        problems=subject.crash.problems,
        place=_place(subject, crashed, blocked, running),
        tool=f"drgn {drgn.__version__}",
        crashed=crashed,
        running=running,
        blocked=blocked,
        tasks=tasks,
        memory=memory.read(core, tasks.found or ()),
        machine=part(lambda: machine.read(core)),
        modules=machine.modules(core),
        mounts=machine.mounts(core),
        disks=machine.disks(core),
        log=safe_lines(read_log(subject.crash) or part(lambda: get_dmesg(core.program)).found or b""),
        instruction=_instruction(subject),
    )


def _from_log_alone(subject: Subject) -> Report:
    crashed = _or_from_log(Part(found=None, missing=_NO_DUMP), subject)
    return Report(
        record=subject.crash.record,
        dump=describe_dump(subject.crash),
        problems=subject.crash.problems,
        place=_place(subject, crashed),
        tool=f"drgn {drgn.__version__}",
        crashed=crashed,
        running=Part(found=None, missing=_NO_DUMP),
        blocked=Part(found=None, missing=_NO_DUMP),
        tasks=Part(found=None, missing=_NO_DUMP),
        memory=Part(found=None, missing=_NO_DUMP),
        machine=Part(found=None, missing=_NO_DUMP),
        modules=Part(found=None, missing=_NO_DUMP),
        mounts=Part(found=None, missing=_NO_DUMP),
        disks=Part(found=None, missing=_NO_DUMP),
        log=safe_lines(read_log(subject.crash)),
        instruction=_instruction(subject),
    )


def _instruction(subject: Subject) -> instruction.Instruction | None:
    return part(lambda: instruction.read(subject.crash.record)).found


def _or_from_log(crashed: Part[Stack], subject: Subject) -> Part[Stack]:
    """The stack; where it could not be read to its end, the one that the kernel logged."""
    frames = crashed.found.frames if crashed.found else ()
    # The unwinder ends at a function that no symbols are known of.
    if frames and not frames[-1].function.startswith("0x"):
        return crashed
    logged = _logged(subject)
    why = crashed.missing or (crashed.found.note if crashed.found else None)
    missing = why or f"only {len(frames)} calls could be read"
    if logged.found is None:
        return Part(found=crashed.found, missing="; ".join(filter(None, (missing, logged.missing))))
    return Part(
        found=logged.found, missing=f"this is the trace in the kernel's log; of the dump's own: {missing}"
    )


def _logged(subject: Subject) -> Part[Stack | None]:
    """The trace in the log."""
    return part(lambda: logtrace.read(subject.crash.record, subject.symbols))


def _place(subject: Subject, crashed: Part[Stack], *others: Part[tuple[Stack, ...]]) -> str | None:
    """Where in the source the function is in which it crashed, as far as a stack tells, or else the log."""
    found = [*([crashed.found] if crashed.found else []), *(s for other in others for s in other.found or ())]
    name = base_name(subject.crash.record.symbol)
    return _source(name, found) or _source(name, filter(None, [_logged(subject).found]))


def _source(name: str | None, stacks: Iterable[Stack]) -> str | None:
    frames = (frame for stack in stacks for frame in stack.frames)
    return next((frame.source for frame in frames if frame.source and frame.function == name), None)
