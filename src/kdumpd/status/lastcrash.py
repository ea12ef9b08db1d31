"""What the crash folder holds, as the status shows it: crashes by their records, or their names alone."""

import json
from typing import Any, Final

from attrs import frozen

from kdumpd.crashes.artefacts import KINDS, Artefact, find_artefacts, parse_name
from kdumpd.status.files import MachineFiles, Unknown

_RECORD_BYTES: Final = 4 << 20


@frozen(kw_only=True)
class LastCrash:
    """A crash in the crash folder; what has no record is known by its files' names alone.

    Attributes:
        stamp: the time part of its files' names.
        files: their names.
        crash_time_s: when it was, in seconds since 1970.
        reason: its line of ``reboot-reason``.
        cause: the kind of crash.
        title: the line of the log that names it.
        group_title: its group in words.
        group: what crashes of one cause have in common.
        dump_state: ``complete``, ``incomplete`` or ``none``.
    """

    stamp: str
    files: tuple[str, ...]
    crash_time_s: int | None = None
    reason: str | None = None
    cause: str | None = None
    title: str | None = None
    group_title: str | None = None
    group: str | None = None
    dump_state: str | None = None


@frozen(kw_only=True)
class Collected:
    """What the crash folder holds of one kind of file."""

    files: int
    size_bytes: int


def find_crashes(machine: MachineFiles, directory: str) -> tuple[LastCrash, ...] | Unknown:
    """Read the crashes in a folder, newest first."""
    names = machine.names(directory)
    if isinstance(names, Unknown):
        return () if names.absent else names
    by_stamp: dict[str, list[Artefact]] = {}
    for artefact in reversed(find_artefacts(names)):
        by_stamp.setdefault(artefact.stamp, []).append(artefact)
    return tuple(_read_crash(machine, directory, files[::-1]) for files in by_stamp.values())


def _read_crash(machine: MachineFiles, directory: str, files: list[Artefact]) -> LastCrash:
    record = next(
        (_record(machine, f"{directory}/{file.name}") for file in files if file.kind == "record"), {}
    )
    dump = record.get("dump")
    time_s = record.get("crash_time_s")
    return LastCrash(
        stamp=files[0].stamp,
        files=tuple(file.name for file in files),
        crash_time_s=time_s if isinstance(time_s, int) else None,
        reason=_text(record.get("reason")),
        cause=_text(record.get("cause")),
        title=_text(record.get("title")),
        group_title=_text(record.get("group_title")),
        group=_text(record.get("group")) or _text(record.get("fingerprint")),
        dump_state=_text(dump.get("state")) if isinstance(dump, dict) else None,
    )


def count_files(machine: MachineFiles, directory: str) -> dict[str, Collected]:
    """Count the files in a folder by kind; ``other`` are no artefacts. Nothing if it cannot be read."""
    names = machine.names(directory)
    if isinstance(names, Unknown):
        return {}
    found = {kind: Collected(files=0, size_bytes=0) for kind in (*KINDS, "other")}
    for name in names:
        size_bytes = machine.size_bytes(f"{directory}/{name}")
        if size_bytes is not None:
            artefact = parse_name(name)
            kind = artefact.kind if artefact else "other"
            held = found[kind]
            found[kind] = Collected(files=held.files + 1, size_bytes=held.size_bytes + size_bytes)
    return found


def _record(machine: MachineFiles, path: str) -> dict[str, Any]:
    """The record's keys; empty if the file is damaged."""
    data = machine.data(path, _RECORD_BYTES)
    try:
        record = None if isinstance(data, Unknown) else json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
