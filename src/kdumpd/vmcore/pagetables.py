"""Page tables of x86-64: which pages they take, and where an address leads to.

The layout is that of the architecture's manual (Intel SDM volume 3A, chapter 5), with 4 or 5 levels.
"""

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

Read = Callable[[int], bytes | None]
"""Reads a page of memory by its frame number; None where that cannot be."""

_PAGE_BITS: Final = 12
_INDEX_BITS: Final = 9
_ENTRIES: Final = struct.Struct("<512Q")
_ENTRY: Final = struct.Struct("<Q")
_PRESENT: Final = 1 << 0
_LARGE: Final = 1 << 7
_LARGE_LEVELS: Final = (2, 3)
_ADDRESS: Final = (1 << 52) - (1 << _PAGE_BITS)
_NO_ENTRIES: Final = (0,) * 512
# An entry of a level above this one maps 512 GiB.
_SLOT_LEVEL: Final = 3
# One for each 2 MiB that is mapped in small pages: 8 GiB of them.
_MAX_TABLES: Final = 4096


class PageTables:
    """The page tables of a kernel, read as they are needed.

    Args:
        read: reads a page.
        top: frame of the top table.
        levels: 4 or 5.
    """

    def __init__(self, read: Read, *, top: int, levels: int) -> None:
        self._read = read
        self._top = top
        self._levels = levels

    def frames(self) -> Iterator[int]:
        """The frames of the tables that map the kernel's half, level by level."""
        tables = [self._top]
        for level in range(self._levels, 1, -1):
            yield from tables
            tables = self._all_below(tables, level)
        yield from tables

    def small_pages(self, address: int) -> Iterator[int]:
        """The frames that are mapped one by one in the 512 GiB around an address."""
        table = self._top
        for level in range(self._levels, _SLOT_LEVEL, -1):
            entry = self._entry(table, level, address)
            if not entry & _PRESENT:
                return
            table = _frame(entry)
        for lowest in self._all_below(self._all_below([table], 3), 2):
            yield from (_frame(entry) for entry in self._entries(lowest) if entry & _PRESENT)

    def find(self, address: int) -> int | None:
        """The frame that a virtual address is mapped to; None where it is not."""
        table = self._top
        for level in range(self._levels, 0, -1):
            entry = self._entry(table, level, address)
            if not entry & _PRESENT:
                return None
            table = _frame(entry)
            if level in _LARGE_LEVELS and entry & _LARGE:
                inside = (1 << _INDEX_BITS * (level - 1)) - 1
                return table & ~inside | address >> _PAGE_BITS & inside
        return table

    def _all_below(self, tables: list[int], level: int) -> list[int]:
        """The tables that these of a level lead to, each once; of damaged tables not more than is sane."""
        below = (frame for table in tables for frame in self._below(table, level))
        return list(dict.fromkeys(islice(below, _MAX_TABLES)))

    def _below(self, table: int, level: int) -> Iterator[int]:
        kernel = 256 if level == self._levels else 0
        for entry in self._entries(table)[kernel:]:
            if entry & _PRESENT and not (level in _LARGE_LEVELS and entry & _LARGE):
                yield _frame(entry)

    def _entry(self, table: int, level: int, address: int) -> int:
        page = self._read(table)
        if not page or len(page) != _ENTRIES.size:
            return 0
        index = address >> _PAGE_BITS + _INDEX_BITS * (level - 1) & 511
        return int(_ENTRY.unpack_from(page, index * _ENTRY.size)[0])

    def _entries(self, table: int) -> tuple[int, ...]:
        page = self._read(table)
        return _ENTRIES.unpack(page) if page and len(page) == _ENTRIES.size else _NO_ENTRIES


def _frame(entry: int) -> int:
    return (entry & _ADDRESS) >> _PAGE_BITS
