"""The fingerprint of a crash: what stays the same when the same fault happens again.

A call trace differs from one boot to the next in addresses, offsets of the kernel (KASLR), CPU, task and
in the frames that the unwinder marks with ``?`` because it only guessed them. The names of the reliable
frames stay. So does the context: what an interrupt happened to interrupt is no part of a fault in its
handler.
"""

import hashlib
import itertools
import re
from collections.abc import Sequence

from attrs import frozen

from kdumpd.dmesg.lines import Line

# arch/x86/kernel/dumpstack.c and arch/arm64/kernel/stacktrace.c; arm64 adds "(P)" and the like after a frame.
_HEADER = re.compile(r"Call [Tt]race:|Backtrace:")
_END = re.compile(
    r"Call [Tt]race:|Backtrace:|Modules linked in:|---\[ end|Kernel panic - |Kernel Offset:|NMI backtrace for"
    r"|Sending NMI|INFO: task |CPU: \d|Mem-Info:|Task dump for|task:"
)
_FRAME = re.compile(
    r"(?P<mark></?[A-Z#][A-Za-z0-9_#]{0,15}>)? *(?:RIP: 0010:)?"
    r"(?:(?:\[<?[0-9a-f]{4,16}>?\] *){0,2}(?P<guess>\? )?"
    r"(?P<symbol>[A-Za-z_.$][\w.$]{0,255})\+0x[0-9a-f]+/0x)?",
    re.ASCII,
)

# The functions by which the kernel reports; they are on the stack of every crash of their kind.
_REPORTER = re.compile(
    r"v?panic|nmi_panic|check_panic_on_warn|__stack_chk_fail|dump_header|_*dump_stack(?:_lvl)?|show_stack"
    r"|show_trace_log_lvl|dump_backtrace|sched_show_task|dump_cpu_task|rcu_dump_cpu_stacks"
    r"|nmi_cpu_backtrace|nmi_trigger_cpumask_backtrace|(?:arch_)?trigger_\w*cpu\w*_backtrace\w*"
    r"|__warn|warn_slowpath_\w+|_*report_bug"
)
_SCHEDULER = re.compile(r"__switch_to|_*(?:io_)?schedule(?:_\w+)?")
# Where an interrupt or NMI entered: after it comes what it interrupted. So too after these marks of x86.
_ENTRY = re.compile(
    r"asm_(?:sysvec|common|exc_nmi)\w*|(?:smp_)?(?:apic_timer|call_function\w*|common|reschedule)_interrupt"
    r"|irq_work_interrupt|ret_from_intr|(?:end_)?repeat_nmi|nmi|el1h?(?:_64)?_(?:irq|fiq)|__irq_svc"
)
_INTERRUPTED = frozenset({"</IRQ>", "<EOI>", "<EOE>"})

_NUMBER = re.compile(r"(?:0x)?\b[0-9a-f]{8,16}\b|0x[0-9a-f]+|\d+", re.IGNORECASE)


@frozen(kw_only=True)
class Trace:
    """A call trace: its reliable frames by section, and the places of its lines in the report.

    A section is what ran in one context: an interrupt's handler, then what it interrupted.
    """

    sections: tuple[tuple[str, ...], ...] = ((),)
    lines: tuple[int, ...] = ()

    @property
    def frames(self) -> tuple[str, ...]:
        """All reliable frames, innermost first."""
        return tuple(frame for section in self.sections for frame in section)

    def path(self, *, interrupted: bool = False) -> tuple[str, ...]:
        """The frames that tell where it happened, in the context in which it happened.

        ``interrupted`` says that the first section is the detector's (a watchdog in its interrupt), if
        it reports at all: what it interrupted is then what is asked for.
        """
        detector = interrupted and any(_is(_REPORTER, frame) for frame in self.sections[0])
        telling = (tuple(filter(_tells, section)) for section in self.sections[detector:])
        return next(filter(None, telling), ())


def read_trace(lines: Sequence[Line], caller: str | None = None) -> Trace:
    """Read the first call trace; one that ``caller`` printed goes before another's."""
    headers = [place for place, line in enumerate(lines) if _HEADER.match(line.body)]
    own = [place for place in headers if lines[place].caller == caller]
    return _read(lines, (own or headers)[0]) if headers else Trace()


def fingerprint(cause: str, message: str, *path: str) -> str:
    """Sixteen hex digits for a cause, a message and a path, its functions without a compiler's suffixes."""
    once = (function for function, _ in itertools.groupby(map(_base, path)))  # recursion is as deep as it is
    plain = "\n".join((cause, message, *once))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def without_numbers(message: str) -> str:
    """A message with each number and address made the same."""
    return _NUMBER.sub("#", message)


def _read(lines: Sequence[Line], header: int) -> Trace:
    sections: list[list[str]] = [[]]
    places = [header]
    for place in range(header + 1, len(lines)):
        line = lines[place]
        if line.caller != lines[header].caller:
            continue  # another CPU's line in between
        if _END.match(line.body):
            break
        places += [place] * _add_frame(sections, line.body)
    return Trace(sections=tuple(map(tuple, sections)), lines=tuple(places))


def _add_frame(sections: list[list[str]], body: str) -> bool:
    """Add what this line tells to the sections; say whether the line is one of a trace."""
    frame = _FRAME.match(body)
    assert frame is not None  # all its parts are optional
    mark, symbol = frame["mark"], frame["symbol"]
    if mark in _INTERRUPTED:
        sections.append([])
    if symbol and not frame["guess"]:
        sections[-1].append(symbol)
        if _is(_ENTRY, symbol):
            sections.append([])
    return bool(mark or symbol)


def _tells(frame: str) -> bool:
    return not (_is(_REPORTER, frame) or _is(_SCHEDULER, frame) or _is(_ENTRY, frame))


def _is(kind: re.Pattern[str], frame: str) -> bool:
    return kind.fullmatch(_base(frame)) is not None


def _base(symbol: str) -> str:
    # foo.cold, foo.part.0, foo.isra.0, foo.constprop.0: parts and variants of one function.
    base, dot, _ = symbol.partition(".")
    return base if dot and base else symbol
