"""A report as one HTML file that needs nothing else: no request leaves it."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Final, TypeVar

from kdumpd.analysis.findings import (
    FREE,
    Disk,
    Frame,
    Machine,
    Memory,
    Module,
    Mount,
    Part,
    Report,
    Stack,
    Task,
    base_name,
)
from kdumpd.analysis.markup import Content, Html, bar, element, join, table
from kdumpd.analysis.text import duration, state, who
from kdumpd.crashes.describe import taints
from kdumpd.crashes.record import CrashRecord
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.text import moment, size
from kdumpd.version import __version__

T = TypeVar("T")

# Nothing is ever loaded: a browser keeps what this promises.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
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


def render(report: Report) -> str:
    """The whole page."""
    sections = _sections(report)
    links = (element("a", title, href=f"#{name}") for name, title, _ in sections)
    body = element(
        "body",
        _header(report),
        element(
            "div",
            element("nav", *links),
            element("main", *(_section(name, title, content) for name, title, content in sections)),
            class_="columns",
        ),
        element("footer", f"kdumpd {__version__}, {report.tool}"),
        Html(f"<script>{_resource('page.js')}</script>"),
    )
    return f'<!doctype html>\n<html lang="en">{_head(report).text}{body.text}</html>\n'


def _head(report: Report) -> Html:
    return Html(
        '<head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"{element('title', f'{_cause(report.record)} · {report.record.stamp}').text}"
        f"<style>{_resource('page.css')}</style></head>"
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _sections(report: Report) -> list[tuple[str, str, Content]]:
    """Name, title and content of each section that has something to show."""
    symbol = base_name(report.record.symbol)
    stacks = [
        ("backtrace", "Backtrace", _part(report.crashed, lambda stack: _stack(stack, symbol, unfolded=True))),
        ("cpus", "Other CPUs", _part(report.running, lambda found: _stacks(found, symbol))),
        ("blocked", "Blocked tasks", _part(report.blocked, lambda found: _stacks(found, symbol))),
    ]
    # A hung task is blocked; what crashed is only the kernel thread that found it.
    order = (2, 0, 1) if report.record.cause == "hung-task" else (0, 1, 2)
    sections = [
        *(stacks[place] for place in order),
        ("capture", "Capture", _capture(report.record)),
        ("memory", "Memory", _part(report.memory, _memory)),
        ("tasks", "Tasks", _part(report.tasks, _tasks)),
        ("devices", "Block devices", _part(report.disks, _disks)),
        ("mounts", "Mounts", _part(report.mounts, _mounts)),
        ("modules", "Modules", _part(report.modules, _modules)),
        ("missing", "Not in this dump", _unreadable(report)),
        ("log", "Log", _log(report.log)),
    ]
    return [section for section in sections if section[2] is not None]


def _unreadable(report: Report) -> Html | None:
    gone = report.unreadable()
    return table(("Section", "Why it cannot be read"), gone.items()) if gone else None


def _section(name: str, title: str, content: Content) -> Html:
    return element("section", element("h2", title), content, id=name)


def _part(part: Part[T], show: Callable[[T], Html]) -> Html | None:
    if part.found is None:
        return None
    missing = element("p", f"Incomplete: {part.missing}", class_="missing") if part.missing else None
    return join([missing, show(part.found)])


def _cause(record: CrashRecord) -> str:
    return _CAUSES.get(record.cause) or record.cause.replace("-", " ").capitalize()


def _header(report: Report) -> Html:
    record = report.record
    symbol = join([" in ", element("code", record.symbol)]) if record.symbol else None
    return element(
        "header",
        element("p", "Kernel crash", element("time", moment(record.crash_time_s)), class_="overline"),
        element("button", "◐", id="theme", type="button", title="Light or dark", aria_label="Light or dark"),
        element("h1", _cause(record), symbol),
        element("p", report.place, class_="place") if report.place else None,
        element("p", record.title, class_="title") if record.title else None,
        _facts(report),
        *(element("p", problem, class_="missing") for problem in report.problems),
    )


def _facts(report: Report) -> Html:
    record = report.record
    facts: dict[str, Content] = {
        "Task": record.command,
        "Fingerprint": element("code", record.fingerprint) if record.fingerprint else None,
        **_machine(report.machine.found, record),
        "Taint": taints(record.taint),
        "Dump": report.dump,
    }
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value))
            for name, value in facts.items()
            if value
        ),
    )


def _machine(machine: Machine | None, record: CrashRecord) -> dict[str, Content]:
    if machine is None:
        return {"Kernel": record.release}
    load = " ".join(f"{value:.2f}" for value in machine.load)
    return {
        "Machine": f"{machine.name}, {machine.cpus} CPUs",
        "Up": f"{duration(machine.uptime_s)}, load {load}",
        "Kernel": machine.version,
        "Command line": element("code", machine.command_line),
    }


def _stacks(stacks: Sequence[Stack], symbol: str | None) -> Html:
    return join(_stack(stack, symbol) for stack in stacks) if stacks else _none()


def _none() -> Html:
    return element("p", "None.", class_="none")


def _stack(stack: Stack, symbol: str | None, *, unfolded: bool = False) -> Html:
    here = [frame.function == symbol for frame in stack.frames]
    frames = element("ol", *map(_frame, stack.frames, here), class_="frames")
    note = element("p", stack.note, class_="missing") if stack.note else None
    if unfolded:
        return join([element("p", who(stack.tasks) if stack.tasks else None, class_="who"), note, frames])
    opened = "" if any(here) else None
    return element("details", element("summary", who(stack.tasks)), note, frames, open=opened)


def _frame(frame: Frame, here: bool) -> Html:
    line = [
        element("code", frame.function, class_="function"),
        element("span", frame.module, class_="badge") if frame.module else None,
        element("span", "inlined", class_="badge quiet") if frame.inlined else None,
        element("span", frame.source, class_="source") if frame.source else None,
    ]
    mark = "here" if here else None
    if not frame.variables:
        return element("li", element("div", *line, class_="call"), class_=mark)
    variables = (
        element("div", element("dt", v.name, element("span", v.type)), element("dd", v.value))
        for v in frame.variables
    )
    known = element("dl", *variables, class_="variables")
    return element("li", element("details", element("summary", *line, class_="call"), known), class_=mark)


def _capture(record: CrashRecord) -> Html:
    """When each step of the run that collected this began, and how long it took."""
    phases = record.phases
    whole = max((phase.start_s + phase.duration_s for phase in phases), default=0) or 1
    rows = (
        element(
            "li",
            element("span", phase.name, class_="name"),
            bar(phase.duration_s / whole, start=phase.start_s / whole),
            element("span", duration(phase.duration_s), class_="number"),
        )
        for phase in sorted(phases, key=lambda phase: phase.start_s)
    )
    said = [*(f"Budget that ran out: {budget}." for budget in record.budgets_spent), *record.warnings]
    return join(
        [
            element(
                "p",
                f"{duration(whole)} from the start of the capture kernel's run to the last file.",
                class_="who",
            )
            if phases
            else element("p", "There is no record of the run.", class_="none"),
            element("ul", *rows, class_="timeline"),
            *(element("p", line, class_="missing") for line in said),
            _pages(record.dump.report) if record.dump.report else None,
        ]
    )


def _pages(report: PageReport) -> Html:
    """What the dump keeps of memory, and what it leaves out."""
    pages = {
        "kept": report.kept_pages,
        "left out: processes": report.user_pages,
        "left out: cache": report.cache_pages + report.private_cache_pages,
        "left out: zero": report.zero_pages,
        "left out: free": report.free_pages,
    }
    shares = [(name, count, f"{count:,}") for name, count in pages.items()]
    return join([element("h3", "Pages of memory in the dump"), _stacked(shares, rest=1)])


def _stacked(shares: Sequence[tuple[str, int, str]], *, rest: int = 0) -> Html:
    """One bar of several parts, and what each of them is; the last few are set back, in grey."""
    whole = sum(amount for _, amount, _ in shares) or 1
    hues = [*(f"hue{place % 8}" for place in range(len(shares) - rest)), *["rest"] * rest]
    parts = [
        (name, f"{100 * amount / whole:.1f}", shown, hue)
        for (name, amount, shown), hue in zip(shares, hues, strict=True)
    ]
    bars = (
        element("span", class_=hue, style=f"width:{share}%", title=f"{name}: {shown}")
        for name, share, shown, hue in parts
    )
    legend = (
        element(
            "li",
            element("span", class_=f"swatch {hue}"),
            element("span", name, class_="name"),
            element("span", shown, class_="number"),
            element("span", f"{share} %", class_="number share"),
        )
        for name, share, shown, hue in parts
    )
    return join([element("div", *bars, class_="stacked"), element("ul", *legend, class_="legend")])


def _memory(memory: Memory) -> Html:
    used = sorted((s for s in memory.shares if s.name != FREE), key=lambda share: -share.size_bytes)
    used_bytes = memory.total_bytes - memory.free_bytes
    amounts = f"{size(used_bytes)} of {size(memory.total_bytes)} used, {size(memory.free_bytes)} free."
    caches = [(cache.name, cache.size_bytes) for cache in memory.caches]
    processes = [(f"{task.command} ({task.pid})", task.rss_bytes) for task in memory.processes]
    halves = (
        element("div", element("h3", title), _ranked(ranked))
        for title, ranked in (("Slab caches", caches), ("Processes", processes))
    )
    return join(
        [
            element("p", amounts, class_="who"),
            bar(used_bytes / (memory.total_bytes or 1)),
            element("h3", "What the used memory holds"),
            _stacked([(share.name, share.size_bytes, size(share.size_bytes)) for share in used]),
            element("div", *halves, class_="halves"),
        ]
    )


def _ranked(amounts: Sequence[tuple[str, int]]) -> Html:
    most = max((amount for _, amount in amounts), default=0) or 1
    rows = (
        element(
            "li",
            element("span", name, class_="name"),
            bar(amount / most),
            element("span", size(amount), class_="number"),
        )
        for name, amount in amounts
    )
    return element("ul", *rows, class_="ranked") if amounts else _none()


def _tasks(tasks: Sequence[Task]) -> Html:
    counted = ", ".join(f"{count} {name}" for name, count in Counter(map(state, tasks)).most_common())
    rows = (
        (
            str(task.pid),
            element("code", f"[{task.command}]" if task.kernel_thread else task.command),
            element("span", state(task), class_=f"state {state(task)}"),
            str(task.cpu),
            size(task.rss_bytes) if task.rss_bytes else "",
            "" if task.idle_s is None else duration(task.idle_s),
            element("code", task.where),
        )
        for task in sorted(tasks, key=_interest)
    )
    head = ("PID", "Command", "State", "CPU", "RSS", "Last ran", "Where")
    return join(
        [
            element("p", f"{len(tasks)} tasks: {counted}.", class_="who"),
            _search("tasks-table", "Find a task"),
            table(head, rows, right=(0, 3, 4, 5), id="tasks-table", class_="folded"),
        ]
    )


def _interest(task: Task) -> tuple[int, bool, int]:
    """Blocked and running tasks first, then processes, then kernel threads."""
    return {"D": 0, "R": 1}.get(task.state, 2), task.kernel_thread, task.pid


def _search(target: str, text: str) -> Html:
    named = f'data-target="{target}" placeholder="{text}" aria-label="{text}"'
    field = f'<input type="search" {named} autocomplete="off">'
    return element("div", Html(field), element("output"), class_="search")


def _disks(disks: Sequence[Disk]) -> Html:
    rows = (
        (element("code", disk.name), size(disk.size_bytes), str(len(disk.requests)), _requests(disk))
        for disk in disks
    )
    head = ("Device", "Size", "In flight", "The oldest" if any(disk.requests for disk in disks) else "")
    return table(head, rows, right=(1, 2)) if disks else _none()


def _requests(disk: Disk) -> str:
    oldest = sorted(disk.requests, key=lambda request: -(request.age_s or 0))[:4]
    return "; ".join(
        f"{r.operation} of {size(r.size_bytes)} at {r.sector}"
        + (f", {duration(r.age_s)} old" if r.age_s is not None else "")
        for r in oldest
    )


def _mounts(mounts: Sequence[Mount]) -> Html:
    rows = ((element("code", m.target), element("code", m.source), m.type) for m in mounts)
    return table(("Target", "Source", "Type"), rows) if mounts else _none()


def _modules(modules: Sequence[Module]) -> Html:
    rows = (
        (element("code", m.name), size(m.size_bytes), m.taints, "yes" if m.symbols else "no") for m in modules
    )
    return table(("Module", "Size", "Taint", "Symbols"), rows, right=(1,)) if modules else _none()


def _log(lines: Iterable[str]) -> Html:
    listed = join(element("span", f"{line}\n", class_=_level(line)) for line in lines)
    return join(
        [_search("log-lines", "Search the log"), element("pre", listed, id="log-lines", tabindex="0")]
    )


def _level(line: str) -> str | None:
    if _SEVERE.search(line):
        return "severe"
    return "doubtful" if _DOUBTFUL.search(line) else None
