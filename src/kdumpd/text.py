"""Text for a person: sizes, times, columns, and nothing in it that a terminal would obey. One of each."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast

import attrs

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")

# Bytes above 0x7f are shown by number too: to a terminal that does not read UTF-8, 0x80 to 0x9f are controls.
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))}


def escape(text: str) -> str:
    r"""Printable ASCII of bytes decoded as Latin-1: every other byte becomes ``\xNN``."""
    return text.translate(_ESCAPES)


def printable(text: str) -> str:
    """One line of text that is safe for a terminal; records and file names come out of crashed machines."""
    if text.isprintable():
        return text
    return escape(" ".join(text.split()).encode("utf-8", "surrogatepass").decode("latin-1"))


def shortened(text: str, limit: int) -> str:
    """Text of at most ``limit`` characters, the last three of them dots where something was cut off."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def size(size_bytes: int) -> str:
    """A size in binary units with two or three digits, such as ``31.5 MiB`` or ``128 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in _UNITS:
        value /= 1024
        if value < 999.5 or unit == _UNITS[-1]:
            break
    return f"{value:.{0 if value >= 99.95 else 1}f} {unit}"


def moment(time_s: int | None) -> str:
    """A time in seconds since 1970 as UTC; ``unknown`` without one."""
    return "unknown" if time_s is None else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def in_columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows of text set in columns, two blanks apart; the numbered columns are set to the right."""
    safe = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in safe
    )


def json_text(document: object) -> str:
    """A document of records, dicts and lists as indented JSON."""
    return json.dumps(document, indent=2, default=_plain)


def _plain(value: object) -> object:
    return attrs.asdict(cast("attrs.AttrsInstance", value)) if attrs.has(type(value)) else str(value)
