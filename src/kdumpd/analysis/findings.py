"""What is found in a dump, as plain records: no reader's objects, fit for text, HTML and JSON alike."""

from typing import Any, Final, Generic, TypeVar

from attrs import frozen

from kdumpd.analysis.instruction import Instruction
from kdumpd.crashes.record import CrashRecord

T = TypeVar("T")


@frozen(kw_only=True)
class Part(Generic[T]):
    """One section: what could be had, and what is missing of it.

    Attributes:
        found: the section; None when nothing of it could be read.
        missing: why it is not whole; None when it is.
    """

    found: T | None
    missing: str | None = None


@frozen(kw_only=True)
class Variable:
    """An argument or local variable, as text."""

    name: str
    type: str
    value: str


@frozen(kw_only=True)
class Frame:
    """One call.

    Attributes:
        function: its name, or its address where no symbol is known.
        source: ``file:line``; None without debug symbols.
        module: the module it is in; None for the kernel itself.
        inlined: whether the compiler put it into its caller.
        variables: arguments and locals whose values are known.
    """

    function: str
    source: str | None = None
    module: str | None = None
    inlined: bool = False
    variables: tuple[Variable, ...] = ()


@frozen(kw_only=True)
class Task:
    """A task and what it was doing.

    Attributes:
        state: as ps shows it: R running, S sleeping, D uninterruptible, I idle, Z zombie.
        idle_s: since it last ran.
        rss_bytes: memory of its own process that is in RAM; 0 for a kernel thread.
        where: the function it sleeps or runs in, below the scheduler's own.
    """

    pid: int
    command: str
    state: str
    cpu: int
    kernel_thread: bool
    idle_s: float | None = None
    rss_bytes: int = 0
    where: str | None = None


@frozen(kw_only=True)
class Stack:
    """The calls of a task, innermost first; `tasks` are all that have the same ones."""

    tasks: tuple[Task, ...]
    frames: tuple[Frame, ...]
    note: str | None = None


@frozen(kw_only=True)
class Share:
    """A part of memory."""

    name: str
    size_bytes: int


@frozen(kw_only=True)
class Cache:
    """A slab cache: its objects, and the memory that its slabs take."""

    name: str
    object_bytes: int
    used: int
    total: int
    size_bytes: int


FREE: Final = "free"
"""The name of the share that nothing uses."""


@frozen(kw_only=True)
class Memory:
    """Where the memory went; `shares` add up to `total_bytes`."""

    total_bytes: int
    free_bytes: int
    shares: tuple[Share, ...]
    caches: tuple[Cache, ...]
    processes: tuple[Task, ...]


@frozen(kw_only=True)
class Module:
    """A loaded module; `symbols` tells whether its debug symbols were found."""

    name: str
    size_bytes: int
    taints: str
    symbols: bool


@frozen(kw_only=True)
class Mount:
    """A mount of the first mount namespace."""

    source: str
    target: str
    type: str


@frozen(kw_only=True)
class Request:
    """A block request in flight."""

    operation: str
    sector: int
    size_bytes: int
    age_s: float | None


@frozen(kw_only=True)
class Disk:
    """A block device and the requests that it had not answered."""

    name: str
    size_bytes: int
    requests: tuple[Request, ...]


@frozen(kw_only=True)
class Machine:
    """The machine and its kernel when it crashed."""

    name: str
    version: str
    command_line: str
    cpus: int
    uptime_s: float
    load: tuple[float, ...]
    taint: str


@frozen(kw_only=True)
class Report:
    """A crash and everything that was found in its dump.

    Attributes:
        record: what is known without the dump.
        dump: one line on the dump file.
        problems: what is wrong with the crash's files.
        place: ``file:line`` of the function in which it crashed; None when it is not known.
        tool: what read the dump.
        log: the kernel's log, safe for a terminal.
        instruction: the one at which it crashed, from the log; None when the log tells nothing of it.
    """

    record: CrashRecord
    dump: str
    problems: tuple[str, ...]
    place: str | None
    tool: str
    crashed: Part[Stack]
    running: Part[tuple[Stack, ...]]
    blocked: Part[tuple[Stack, ...]]
    tasks: Part[tuple[Task, ...]]
    memory: Part[Memory]
    machine: Part[Machine]
    modules: Part[tuple[Module, ...]]
    mounts: Part[tuple[Mount, ...]]
    disks: Part[tuple[Disk, ...]]
    log: tuple[str, ...]
    instruction: Instruction | None = None

    def unreadable(self) -> dict[str, str]:
        """The sections of which nothing could be read, and why."""
        parts: dict[str, Part[Any]] = {
            "crashed task": self.crashed,
            "other CPUs": self.running,
            "blocked tasks": self.blocked,
            "tasks": self.tasks,
            "memory": self.memory,
            "machine": self.machine,
            "modules": self.modules,
            "mounts": self.mounts,
            "block devices": self.disks,
        }
        return {name: part.missing or "" for name, part in parts.items() if part.found is None}


def base_name(symbol: str | None) -> str | None:
    """A function's name as debug symbols have it: a cold or cloned part has a suffix in the kernel's log."""
    return symbol.partition(".")[0] if symbol else None
