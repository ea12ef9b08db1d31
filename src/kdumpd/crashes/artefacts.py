"""Artefacts of crashes: their names, and which of them have expired.

Only a file with an artefact's name is ever removed; EVE's own older names count as artefacts.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

_KIND_OF: Final = {
    ("kdump", "dump"): "dump",
    ("kdump", "flat.age"): "dump",
    ("dmesg", "log"): "log",
    ("crash", "json"): "record",
    ("report", "txt"): "report",
}
KINDS: Final = tuple(dict.fromkeys(_KIND_OF.values()))
"""The kinds of artefacts."""

_NAME: Final = re.compile(r"(kdump|dmesg|crash|report)-([0-9TZ:+.-]{10,40})\.(dump|flat\.age|log|json|txt)")

# What tells of dumps and logs, and goes with the last of them.
_COMPANIONS: Final = ("record", "report")
_STAMP: Final = re.compile(r"(\d{8}T\d{6})Z(?:-(\d{1,4}))?")


@frozen(kw_only=True)
class Artefact:
    """A file that a crash left behind.

    Attributes:
        name: the file's name.
        kind: ``dump``, ``log``, ``record`` or ``report``.
        stamp: the time part of the name, which the files of one crash share.
        order: sorts artefacts from the oldest to the newest.
    """

    name: str
    kind: str
    stamp: str
    order: tuple[float, int]


def make_stamp(time_s: int) -> str:
    """The time part of a name: UTC, ``20261123T014039Z``."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def free_stamp(time_s: int, names: Iterable[str]) -> str:
    """The stamp for this time that no artefact has yet: plain, or with -2, -3 and so on."""
    taken = {artefact.stamp for artefact in find_artefacts(names)}
    base = make_stamp(time_s)
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(stamp for stamp in candidates if stamp not in taken)


def parse_name(name: str) -> Artefact | None:
    """Read a file's name as an artefact's; None for anything else."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    kind = _KIND_OF.get((match[1], match[3]))
    order = _order(match[2])
    if kind is None or order is None:
        return None
    return Artefact(name=name, kind=kind, stamp=match[2], order=order)


def _order(stamp: str) -> tuple[float, int] | None:
    try:
        if own := _STAMP.fullmatch(stamp):
            moment = datetime.strptime(own[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
            return moment.timestamp(), int(own[2] or 1)
        # EVE's own names: `date -Is`, with or without a zone.
        moment = datetime.fromisoformat(stamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), 1
    except (ValueError, OverflowError):
        return None


def find_artefacts(names: Iterable[str], *, sequences: Mapping[str, int] | None = None) -> list[Artefact]:
    """The artefacts among these names, oldest first.

    Args:
        names: file names.
        sequences: the sequence numbers of crashes by stamp. A clock may be wrong, so they order crashes, and
        one
            without a number is older than all that have one.
    """
    known = sequences or {}
    found = [artefact for name in names if (artefact := parse_name(name))]
    return sorted(found, key=lambda a: (known.get(a.stamp, 0), a.order, a.name))


def expired(
    names: Iterable[str], *, dumps: int, logs: int, sequences: Mapping[str, int] | None = None
) -> list[str]:
    """The names to remove, so that only the newest dumps and logs stay, at most so many of each.

    A record goes when what it describes does; of those that stand alone, of a crash of which nothing could be
    collected, as many stay as crashes may.
    """
    artefacts = find_artefacts(names, sequences=sequences)
    gone = [*_oldest(artefacts, "dump", dumps), *_oldest(artefacts, "log", logs)]
    left = {a.stamp for a in artefacts if a.kind not in _COMPANIONS}
    alone = [a for a in artefacts if a.kind == "record" and a.stamp not in left]
    gone_alone = {a.stamp for a in _oldest(alone, "record", max(dumps, logs))}
    companions = [a for a in artefacts if a.kind in _COMPANIONS and a.stamp in gone_alone]
    return [artefact.name for artefact in (*_with_companions(artefacts, gone), *companions)]


def over_limit(
    sizes_bytes: Mapping[str, int], limit_bytes: int, *, sequences: Mapping[str, int] | None = None
) -> list[str]:
    """The names that go so that all dumps together are within a limit, the oldest; the newest dump stays.

    Args:
        sizes_bytes: every file in the folder, by its name.
        limit_bytes: what the dumps may take up.
        sequences: see ``find_artefacts``.
    """
    artefacts = find_artefacts(sizes_bytes, sequences=sequences)
    dumps = [artefact for artefact in artefacts if artefact.kind == "dump"]
    excess_bytes = sum(sizes_bytes[dump.name] for dump in dumps) - limit_bytes
    gone = []
    for dump in dumps[:-1]:
        if excess_bytes > 0:
            gone.append(dump)
            excess_bytes -= sizes_bytes[dump.name]
    return [artefact.name for artefact in _with_companions(artefacts, gone)]


def _with_companions(artefacts: list[Artefact], gone: list[Artefact]) -> list[Artefact]:
    removed = set(gone)
    left = {a.stamp for a in artefacts if a.kind not in _COMPANIONS and a not in removed}
    lost = {a.stamp for a in gone} - left
    return gone + [a for a in artefacts if a.kind in _COMPANIONS and a.stamp in lost]


def _oldest(artefacts: list[Artefact], kind: str, keep: int) -> list[Artefact]:
    of_kind = [artefact for artefact in artefacts if artefact.kind == kind]
    return of_kind[: max(0, len(of_kind) - keep)]
