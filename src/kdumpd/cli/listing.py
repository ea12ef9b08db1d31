"""Crashes as text for a person, and as JSON for a program."""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from kdumpd.crashes.describe import describe_dump, headline, taints
from kdumpd.crashes.inventory import Crash, File, times_seen
from kdumpd.crashes.record import CrashRecord
from kdumpd.text import in_columns, moment, printable, size


def table(crashes: Sequence[Crash]) -> str:
    """A line for each crash."""
    seen = times_seen(crashes)
    rows = [("CRASH", "CAUSE", "KERNEL", "DUMP", "SIZE", "GROUP", "FINGERPRINT", "SEEN")]
    for crash in crashes:
        record = crash.record
        rows.append(
            (
                crash.stamp,
                headline(record),
                record.release or "-",
                crash.dump_state,
                size(crash.size_bytes),
                record.group or "-",
                record.fingerprint or "-",
                str(seen[record.fingerprint]) if record.fingerprint else "-",
            )
        )
    return in_columns(rows, right=(4, 7))


def details(crash: Crash, seen: Iterable[str]) -> str:
    """One crash in full; `seen` are the stamps of all crashes with its fingerprint."""
    record = crash.record
    lines = [f"{crash.stamp}: {headline(record)}"]
    lines += [f"  {record.title}"] if record.title else []
    lines += ["", *_facts(crash, list(seen))]
    lines += _block(
        "phases", [_phase(phase.name, phase.start_s, phase.duration_s) for phase in record.phases]
    )
    lines += _block("budgets that ran out", record.budgets_spent)
    lines += _block("warnings", record.warnings)
    lines += _block("about these files", crash.problems)
    lines += _block("instruction", _instruction(record)[1])
    lines += _block("call trace, innermost first", record.frames)
    lines += _block("panic text", record.panic_text)
    return "\n".join(map(printable, lines))


def _instruction(record: CrashRecord) -> tuple[dict[str, Any] | None, list[str]]:
    """The instruction at which it crashed, for a program and for a person."""
    from kdumpd.analysis import instruction  # noqa: PLC0415 the other commands do without

    found = instruction.read(record)
    return (attrs.asdict(found), instruction.lines(found)) if found else (None, [])


def _facts(crash: Crash, seen: list[str]) -> list[str]:
    record = crash.record
    facts = {
        "crashed": moment(record.crash_time_s),
        "kernel": f"{record.release or 'unknown'}, build id {record.build_id or 'unknown'}",
        "task": record.command,
        "taint": taints(record.taint),
        "modules": " ".join(record.modules),
        "group": f"{record.group}, {record.group_title}" if record.group else None,
        "fingerprint": _often(record.fingerprint, len(seen)),
        "also in": ", ".join(stamp for stamp in seen if stamp != crash.stamp),
        "dump": describe_dump(crash),
        "pages": _pages(record),
        "log": _log(crash),
        "told EVE": record.reason,
        "tools": ", ".join(f"{name} {version}" for name, version in record.tools.items()),
    }
    return [f"  {name:<12}{value}" for name, value in facts.items() if value]


def _often(fingerprint: str | None, times: int) -> str | None:
    return f"{fingerprint}, seen {times} times here" if fingerprint and times > 1 else fingerprint


def _pages(record: CrashRecord) -> str | None:
    report = record.dump.report
    if report is None:
        return None
    left_out = {
        "free": report.free_pages,
        "user": report.user_pages,
        "cache": report.cache_pages + report.private_cache_pages,
        "zero": report.zero_pages,
    }
    listed = ", ".join(f"{count} {name}" for name, count in left_out.items())
    return f"{report.kept_pages} of {report.total_pages} kept; left out: {listed}"


def _log(crash: Crash) -> str:
    file = crash.files.get("log")
    return f"{size(file.size_bytes)}: {file.path.name}" if file else "none"


def _phase(name: str, start_s: float, duration_s: float) -> str:
    return f"{start_s:8.2f} s  {duration_s:8.2f} s  {name}"


def _block(title: str, lines: Iterable[str]) -> list[str]:
    listed = [f"  {line}" for line in lines]
    return ["", f"{title}:", *listed] if listed else []


def overview(crashes: Sequence[Crash]) -> list[dict[str, Any]]:
    """What ``list --json`` says: for each crash what the table has, and its files."""
    seen = times_seen(crashes)
    return [
        {
            "stamp": crash.stamp,
            "crash_time_s": crash.record.crash_time_s,
            "cause": crash.record.cause,
            "symbol": crash.record.symbol,
            "title": crash.record.title,
            "release": crash.record.release,
            "dump": crash.dump_state,
            "size_bytes": crash.size_bytes,
            "group": crash.record.group,
            "group_title": crash.record.group_title,
            "fingerprint": crash.record.fingerprint,
            "seen": seen[crash.record.fingerprint] if crash.record.fingerprint else None,
            "files": {kind: str(file.path) for kind, file in crash.files.items()},
            "problems": list(crash.problems),
        }
        for crash in crashes
    ]


def files(found: Iterable[File]) -> list[dict[str, Any]]:
    """Files and their sizes, for JSON."""
    return [{"path": str(file.path), "size_bytes": file.size_bytes} for file in found]


def of_interrupted_runs(found: Iterable[File]) -> list[str]:
    """A line for each file that an interrupted run left half-written, for under the table."""
    return [
        f"left over of an interrupted run: {printable(file.path.name)}, {size(file.size_bytes)}"
        for file in found
    ]


def full(crash: Crash, seen: Iterable[str]) -> dict[str, Any]:
    """What ``show --json`` says: the record, and what the folder adds to it."""
    return {
        "record": attrs.asdict(crash.record),
        "from_record": crash.from_record,
        "dump": crash.dump_state,
        "seen": list(seen),
        "instruction": _instruction(crash.record)[0],
        "files": {kind: attrs.asdict(file) | {"path": str(file.path)} for kind, file in crash.files.items()},
        "problems": list(crash.problems),
    }
