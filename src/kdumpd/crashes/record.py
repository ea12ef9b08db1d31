"""The crash record, ``crash-STAMP.json``: what happened, what was collected, how long it took.

It is written by one kdumpd and may be read by another, years later. A reader ignores the keys of a newer
schema that it does not know; for what is damaged it raises a FormatError that names the key.
"""

import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, Literal, Self, TypeVar

import attrs
from attrs import field, frozen

from kdumpd.dmesg.panic import Panic
from kdumpd.dump.verdict import Verdict
from kdumpd.errors import FormatError

SCHEMA: Final = 1

# A record is some 6 KiB long, 200 lines of panic text included. Anything longer than this is refused.
MAX_RECORD_BYTES: Final = 1 << 20

# The end of the year 9999; and the largest integer that common readers of JSON can hold.
_MAX_TIME_S: Final = 253402300799
_MAX_INTEGER: Final = (1 << 63) - 1

# What an error quotes of a value or a key.
_QUOTED_CHARACTERS: Final = 40

T = TypeVar("T")


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
    """The crashed kernel's log as it was saved; the name is None if it was not."""

    name: str | None
    size_bytes: int
    tool: str | None


@frozen(kw_only=True)
class Device:
    """The machine that crashed.

    Attributes:
        uptime_s: how long its kernel was up, as the log's last line says; None: no line has a time.
    """

    uptime_s: float | None = None


@frozen(kw_only=True)
class CrashRecord:
    """Everything known about one crash when the machine reboots.

    Attributes:
        sequence: the number of this crash on its volume, which orders crashes whatever a clock says; None in
            records of version 0.1.0.
        lived_s: the uptimes of all crashes up to this one together: a clock that nobody has to set.
        schema: version of the record. Adding a key keeps the version; changing what a key means, or removing
            one, makes the next.
    """

    schema: int = SCHEMA
    stamp: str
    sequence: int | None = None
    lived_s: float | None = None
    crash_time_s: int | None
    device: Device = Device()
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
    group: str | None = None
    group_title: str | None = None
    panic_text: tuple[str, ...] = ()
    reason: str
    log: Log
    dump_name: str | None
    dump: Verdict
    phases: tuple[Phase, ...] = ()
    budgets_spent: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(factory=dict)

    def with_panic(self, found: Panic) -> Self:
        """The record with what the log says about the crash."""
        return attrs.evolve(
            self,
            cause=found.cause.value,
            title=found.title,
            symbol=found.symbol,
            command=found.command,
            taint=found.taint,
            modules=found.modules,
            frames=found.frames,
            fingerprint=found.fingerprint,
            group=found.group,
            group_title=found.group_title,
            panic_text=found.text,
        )

    def to_json(self) -> bytes:
        """The content of the record's file."""
        return json.dumps(attrs.asdict(self), indent=2, ensure_ascii=True).encode() + b"\n"


def parse_record(data: bytes) -> CrashRecord:
    """Read a crash record.

    Unknown keys are ignored: a newer kdumpd may have written them. Missing keys get their default, if there
    is one.

    Raises:
        FormatError: it is no JSON object, has no schema version, or a key is missing or of a wrong type.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise FormatError(f"a crash record of {len(data)} bytes is too long")
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the crash record is not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or not 1 <= schema <= _MAX_INTEGER:
        raise FormatError("the crash record has no schema version")
    try:
        record = _read_attrs(CrashRecord, document, "")
        _require_time(record.crash_time_s)
        return record
    except FormatError as error:
        newer = f" (its schema {schema} is newer than {SCHEMA}, which this kdumpd knows)"
        raise FormatError(f"{error}{newer if schema > SCHEMA else ''}") from error


def _require_time(crash_time_s: int | None) -> None:
    if crash_time_s is not None and not 0 <= crash_time_s <= _MAX_TIME_S:
        raise FormatError(f"crash_time_s is {crash_time_s}, which is out of range")


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's own; JSON has neither."""
    raise ValueError(f"{name} is no number")


def _read_attrs(kind: type[T], value: object, where: str) -> T:
    if not isinstance(value, dict):
        raise FormatError(f"{where or 'the crash record'} is not an object")
    types_of = typing.get_type_hints(kind)
    known = {}
    for attribute in attrs.fields(typing.cast("Any", kind)):
        path = f"{where}.{attribute.name}" if where else attribute.name
        if attribute.name in value:
            known[attribute.name] = _read(types_of[attribute.name], value[attribute.name], path)
        elif attribute.default is attrs.NOTHING:
            raise FormatError(f"{path} is missing")
    return kind(**known)


def _read(kind: type, value: object, where: str) -> object:
    """Read a JSON value as the type of a record's field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        inner = next(member for member in arguments if member is not types.NoneType)
        return None if value is None else _read(inner, value, where)
    if attrs.has(kind):
        return _read_attrs(kind, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {key: _read(arguments[1], item, f"{where}.{_shown(key)}") for key, item in value.items()}
    return _read_plain(kind, value, where)


def _read_plain(kind: type, value: object, where: str) -> object:
    if typing.get_origin(kind) is Literal:
        accepted = value in typing.get_args(kind)
    elif kind in (float, int):
        # bool is an int in Python, and not in a record.
        accepted = type(value) in (kind, int) and abs(typing.cast("float", value)) <= _MAX_INTEGER
    else:
        accepted = type(value) is kind
    if not accepted:
        raise FormatError(f"{where} is {_quoted(value)}, which is of a wrong type or out of range")
    return value


def _shown(key: str) -> str:
    return key[:_QUOTED_CHARACTERS] if key.isprintable() else _quoted(key)


def _quoted(value: object) -> str:
    return json.dumps(value)[:_QUOTED_CHARACTERS]
