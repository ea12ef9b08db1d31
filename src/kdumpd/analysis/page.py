"""A report as one HTML file that needs nothing else: no request leaves it.

How it looks is in ``templates/``: Jinja2's, everything in them escaped, one file a section, with the style
and the script beside them. Here is what the templates are given.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import frozen
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdumpd.analysis.findings import FREE, Disk, Memory, Part, Report, Task, base_name
from kdumpd.analysis.text import duration, state, who
from kdumpd.crashes.describe import taints
from kdumpd.crashes.record import CrashRecord, Phase
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.text import moment, size
from kdumpd.version import __version__

_CAUSES: Final = {
    "null-dereference": "NULL pointer dereference",
    "bug": "Kernel BUG",
    "nmi": "NMI",
    "rcu-stall": "RCU stall",
    "sysrq": "SysRq crash",
    "killed-init": "Killed init",
    "unknown": "Crash of unknown cause",
}
_SEVERE: Final = re.compile(r"\b(?:BUG|Oops|panic|RIP|Call Trace|general protection|Unable to handle)\b")
_DOUBTFUL: Final = re.compile(r"\b(?:warn|error|fail|taint|unable|denied|timed out)", re.IGNORECASE)
_OLDEST: Final = 4


@frozen(kw_only=True)
class Section:
    """One section: its anchor and title, the template that shows it, and what that is given."""

    name: str
    title: str
    template: str
    part: Part[Any]


@frozen(kw_only=True)
class Amount:
    """A part of something: how much of it, and how that is shown."""

    name: str
    amount: int
    shown: str


def render(report: Report) -> str:
    """The whole page."""
    templates = _templates()
    script = _source(templates, "page.js")
    return templates.get_template("page.html").render(
        report=report,
        record=report.record,
        machine=report.machine.found,
        cause=_cause(report.record),
        symbol=base_name(report.record.symbol),
        sections=_sections(report),
        policy=_policy(script),
        style=Markup(_source(templates, "page.css")),  # noqa: S704 a file of ours
        script=Markup(script),  # noqa: S704 as above
        version=__version__,
    )


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("kdumpd.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "by_interest": _by_interest,
        "caches": _caches,
        "counted": _counted,
        "duration": duration,
        "level": _level,
        "load": _load,
        "moment": moment,
        "oldest_requests": _oldest_requests,
        "pages": _pages,
        "percent": _percent,
        "processes": _processes,
        "run_s": _run_s,
        "size": size,
        "state": state,
        "taints": taints,
        "used": _used,
        "who": who,
    }
    return templates


def _source(templates: Environment, name: str) -> str:
    assert isinstance(templates.loader, BaseLoader)
    return templates.loader.get_source(templates, name)[0]


def _policy(script: str) -> str:
    """What a browser keeps, whatever is in the page: nothing is loaded, sent or run but this script.

    The style is not named by its hash: bars have their lengths in attributes.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _sections(report: Report) -> list[Section]:
    """Each section that has something to show, in their order."""
    stacks = [
        Section(name="backtrace", title="Backtrace", template="backtrace.html", part=report.crashed),
        Section(name="cpus", title="Other CPUs", template="stacks.html", part=report.running),
        Section(name="blocked", title="Blocked tasks", template="stacks.html", part=report.blocked),
    ]
    # A hung task is blocked; what crashed is only the kernel thread that found it.
    order = (2, 0, 1) if report.record.cause == "hung-task" else (0, 1, 2)
    sections = [
        *(stacks[index] for index in order),
        Section(name="capture", title="Capture", template="capture.html", part=_WHOLE),
        Section(name="memory", title="Memory", template="memory.html", part=report.memory),
        Section(name="tasks", title="Tasks", template="tasks.html", part=report.tasks),
        Section(name="devices", title="Block devices", template="devices.html", part=report.disks),
        Section(name="mounts", title="Mounts", template="mounts.html", part=report.mounts),
        Section(name="modules", title="Modules", template="modules.html", part=report.modules),
        Section(
            name="missing",
            title="Not in this dump",
            template="missing.html",
            part=_WHOLE if report.unreadable() else _GONE,
        ),
        Section(name="log", title="Log", template="log.html", part=_WHOLE),
    ]
    return [section for section in sections if section.part.found is not None]


# Of what the record and the report have as they are, there is nothing that a dump could lack.
_WHOLE: Final[Part[bool]] = Part(found=True)
_GONE: Final[Part[bool]] = Part(found=None)


def _cause(record: CrashRecord) -> str:
    return _CAUSES.get(record.cause) or record.cause.replace("-", " ").capitalize()


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f}"


def _load(averages: Iterable[float]) -> str:
    return " ".join(f"{value:.2f}" for value in averages)


def _run_s(phases: Iterable[Phase]) -> float:
    return max((phase.start_s + phase.duration_s for phase in phases), default=0) or 1


def _pages(report: PageReport) -> list[Amount]:
    """What the dump keeps of memory, and what it leaves out."""
    pages = {
        "kept": report.kept_pages,
        "left out: processes": report.user_pages,
        "left out: cache": report.cache_pages + report.private_cache_pages,
        "left out: zero": report.zero_pages,
        "left out: free": report.free_pages,
    }
    return [Amount(name=name, amount=count, shown=f"{count:,}") for name, count in pages.items()]


def _used(memory: Memory) -> list[Amount]:
    used = sorted((s for s in memory.shares if s.name != FREE), key=lambda share: -share.size_bytes)
    return _sizes((share.name, share.size_bytes) for share in used)


def _caches(memory: Memory) -> list[Amount]:
    return _sizes((cache.name, cache.size_bytes) for cache in memory.caches)


def _processes(memory: Memory) -> list[Amount]:
    return _sizes((f"{task.command} ({task.pid})", task.rss_bytes) for task in memory.processes)


def _sizes(amounts: Iterable[tuple[str, int]]) -> list[Amount]:
    return [Amount(name=name, amount=amount, shown=size(amount)) for name, amount in amounts]


def _counted(tasks: Sequence[Task]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(map(state, tasks)).most_common())


def _by_interest(tasks: Sequence[Task]) -> list[Task]:
    """Blocked and running tasks first, then processes, then kernel threads."""
    return sorted(tasks, key=lambda t: ({"D": 0, "R": 1}.get(t.state, 2), t.kernel_thread, t.pid))


def _oldest_requests(disk: Disk) -> str:
    oldest = sorted(disk.requests, key=lambda request: -(request.age_s or 0))[:_OLDEST]
    return "; ".join(
        f"{r.operation} of {size(r.size_bytes)} at {r.sector}"
        + (f", {duration(r.age_s)} old" if r.age_s is not None else "")
        for r in oldest
    )


def _level(line: str) -> str | None:
    if _SEVERE.search(line):
        return "severe"
    return "doubtful" if _DOUBTFUL.search(line) else None
