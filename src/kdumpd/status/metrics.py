"""The status for a fleet's eyes: gauges in the Prometheus text format 0.0.4, without timestamps.

node_exporter's textfile collector reads such a file; it refuses timestamps. A code has its gauge whether it
applies or not, so that a rule can tell 0 from no answer.
(https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md)
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from attrs import frozen

from kdumpd.status.assess import Finding, Status, room_bytes
from kdumpd.status.lastcrash import LastCrash
from kdumpd.status.remedies import REASONS, WARNINGS

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@frozen
class _Gauge:
    name: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]

    def lines(self) -> Iterator[str]:
        yield f"# HELP kdumpd_{self.name} {self.help}"
        yield f"# TYPE kdumpd_{self.name} gauge"
        for labels, value in self.samples:
            shown = ",".join(f'{name}="{_label(text)}"' for name, text in labels.items())
            yield f"kdumpd_{self.name}" + (f"{{{shown}}}" if shown else "") + f" {value:.17g}"


def _label(text: str) -> str:
    # What came out of a crashed machine need not be UTF-8 that can be written.
    return text.encode("utf-8", "replace").decode().translate(_ESCAPES)


def to_metrics(status: Status) -> str:
    """The status as metrics; what is not known has no sample."""
    gauges = (gauge for gauge in _gauges(status) if gauge.samples)
    return "".join(f"{line}\n" for gauge in gauges for line in gauge.lines())


def _gauges(status: Status) -> Iterator[_Gauge]:
    facts = status.facts
    yield _one("armed", "Whether a crash now would leave a dump.", status.armed)
    yield _by_code("not_armed_reason", "Why it would not.", REASONS, status.reasons)
    yield _by_code("warning", "What is not as it should be.", WARNINGS, status.warnings)
    yield _one("dump_room_bytes", "How long a dump may get.", room_bytes(facts))
    kinds = {kind: {"kind": kind} for kind in facts.collected}
    yield _Gauge(
        "crash_folder_files",
        "Files in the crash folder.",
        tuple((kinds[kind], held.files) for kind, held in facts.collected.items()),
    )
    yield _Gauge(
        "crash_folder_bytes",
        "What they take up.",
        tuple((kinds[kind], held.size_bytes) for kind, held in facts.collected.items()),
    )
    if isinstance(facts.last_crash, LastCrash):
        yield from _crash(facts.last_crash)
    missed = facts.boot.capture_missed if facts.boot else None
    yield _one("capture_missed", "The boot before was armed and ended without a word.", missed)
    yield _one("drill_passed", "Whether the last drill passed.", facts.drill.passed if facts.drill else None)


def _crash(crash: LastCrash) -> Iterator[_Gauge]:
    help_text = "When the last crash was."
    yield _one("last_crash_timestamp_seconds", help_text, crash.crash_time_s)
    labels = {
        "stamp": crash.stamp,
        "cause": crash.cause or "",
        "group": crash.group or "",
        "dump": crash.dump_state or "",
    }
    yield _Gauge("last_crash_info", "The last crash.", ((labels, 1),))


def _one(name: str, help_text: str, value: float | None) -> _Gauge:
    return _Gauge(name, help_text, () if value is None else (({}, value),))


def _by_code(name: str, help_text: str, codes: Iterable[str], found: Iterable[Finding]) -> _Gauge:
    there = {finding.code for finding in found}
    return _Gauge(name, help_text, tuple(({"code": code}, code in there) for code in codes))
