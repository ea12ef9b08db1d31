"""The crash record, ``crash-STAMP.json``: what happened, what was collected, how long it took."""

import json
from typing import Any, Final

import attrs
from attrs import field, frozen

from kdumpd.dump import Verdict

SCHEMA: Final = 1


@frozen(kw_only=True)
class Phase:
    """One step of a run.

    Attributes:
        name: what was done.
        start_s: since the run began.
        duration_s: how long it took.
    """

    name: str
    start_s: float
    duration_s: float


@frozen(kw_only=True)
class Log:
    """The crashed kernel's log as it was saved; without a name it was not."""

    name: str | None
    size_bytes: int
    tool: str | None


@frozen(kw_only=True)
class CrashRecord:
    """Everything that is known of one crash when the machine reboots."""

    stamp: str
    crash_time_s: int | None
    release: str | None = None
    build_id: str | None = None
    cause: str = "unknown"
    title: str | None = None
    symbol: str | None = None
    command: str | None = None
    taint: str | None = None
    modules: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    fingerprint: str | None = None
    panic_text: tuple[str, ...] = ()
    reason: str
    log: Log
    dump_name: str | None
    dump: Verdict
    phases: tuple[Phase, ...] = ()
    budgets_spent: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tools: dict[str, str] = field(factory=dict)

    def to_json(self) -> bytes:
        """The record as its file has it."""
        document: dict[str, Any] = {"schema": SCHEMA, **attrs.asdict(self)}
        return json.dumps(document, indent=2, ensure_ascii=True).encode() + b"\n"
