"""The newest crash in the crash folder, for the status: from its record, else from its files' names."""

import json
from typing import Any, Final

from attrs import frozen

from kdumpd.crashes.artefacts import find_artefacts
from kdumpd.status.files import MachineFiles, Unknown

_RECORD_BYTES: Final = 4 << 20


@frozen(kw_only=True)
class LastCrash:
    """The newest crash in the crash folder; without a record only its files' names are known.

    Attributes:
        stamp: the time part of its files' names.
        files: their names.
        reason: its line of ``reboot-reason``.
        cause: the kind of crash.
        title: the line of the log that names it.
        group_title: its group in words.
        dump_state: ``complete``, ``incomplete`` or ``none``.
    """

    stamp: str
    files: tuple[str, ...]
    reason: str | None = None
    cause: str | None = None
    title: str | None = None
    group_title: str | None = None
    dump_state: str | None = None


def find_last_crash(machine: MachineFiles, directory: str) -> LastCrash | Unknown | None:
    """Read the newest crash in a folder; None when there is none."""
    names = machine.names(directory)
    if isinstance(names, Unknown):
        return None if names.absent else names
    artefacts = find_artefacts(names)
    if not artefacts:
        return None
    newest = [artefact for artefact in artefacts if artefact.stamp == artefacts[-1].stamp]
    record = next((_record(machine, f"{directory}/{one.name}") for one in newest if one.kind == "record"), {})
    dump = record.get("dump")
    return LastCrash(
        stamp=newest[-1].stamp,
        files=tuple(artefact.name for artefact in newest),
        reason=_text(record.get("reason")),
        cause=_text(record.get("cause")),
        title=_text(record.get("title")),
        group_title=_text(record.get("group_title")),
        dump_state=_text(dump.get("state")) if isinstance(dump, dict) else None,
    )


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
