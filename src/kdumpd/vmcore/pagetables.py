"""Page tables of x86-64: which frames they take, and which frame an address is mapped to."""

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

# How an address is translated
# ----------------------------
#
# A table is one page of 512 entries of 8 bytes. Each level uses 9 bits of the address to choose one; the last
# 12 bits are the offset in the page (Intel SDM volume 3A, chapter 5). Level 1 is the lowest:
#
#   bits  56-48   47-39   38-30   29-21   20-12   11-0
#   level     5       4       3       2       1   offset
#   an entry maps
#        256 TiB 512 GiB   1 GiB   2 MiB   4 KiB
#
# Level 5 exists only where the kernel was booted with it. In an entry bit 0 is "present", bits 12 to 51 are
# the physical address of the next table or of the page, and bit 7, in levels 2 and 3, says that the entry
# maps a large page itself instead of leading to a table; in level 1 the same bit means something else (PAT),
# so it must not be looked at there. Whatever is not present ends the walk: its other bits may be anything.
#
# The kernel has the upper half of all addresses: entries 256 to 511 of the top table. The lower half of
# init_top_pgt is empty, and that of a process would be a customer's.
#
# A crashed machine's tables may be damaged and lead in circles. The walk down is bounded by its levels, the
# walk over all tables by _MAX_TABLES for each level.

Read = Callable[[int], bytes | None]
"""Reads a page of memory by its frame number; None where it cannot be read."""

_PAGE_BITS: Final = 12
_INDEX_BITS: Final = 9
_ENTRIES: Final = struct.Struct("<512Q")
_ENTRY: Final = struct.Struct("<Q")
_PRESENT: Final = 1 << 0
_LARGE: Final = 1 << 7
_LARGE_LEVELS: Final = (2, 3)
_ADDRESS: Final = (1 << 52) - (1 << _PAGE_BITS)
_NO_ENTRIES: Final = (0,) * 512
# A table of this level covers 512 GiB.
_SLOT_LEVEL: Final = 3
# One table for each 2 MiB that is mapped in small pages: 8 GiB of them.
_MAX_TABLES: Final = 4096


class PageTables:
    """The page tables of a kernel, read as they are needed.

    Args:
        read: reads a page.
        top: frame of the top table.
        levels: 4 or 5.
        encryption_mask: the bit of an entry that says that its page is encrypted (AMD SME's C-bit), and is
            no part of the address; 0: there is none.
    """

    def __init__(self, read: Read, *, top: int, levels: int, encryption_mask: int = 0) -> None:
        self._address = _ADDRESS & ~encryption_mask
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
            table = self._frame(entry)
        for lowest in self._all_below(self._all_below([table], 3), 2):
            yield from (self._frame(entry) for entry in self._entries(lowest) if entry & _PRESENT)

    def find(self, address: int) -> int | None:
        """The frame that a virtual address is mapped to; None where it is not."""
        table = self._top
        for level in range(self._levels, 0, -1):
            entry = self._entry(table, level, address)
            if not entry & _PRESENT:
                return None
            table = self._frame(entry)
            if level in _LARGE_LEVELS and entry & _LARGE:
                inside = (1 << _INDEX_BITS * (level - 1)) - 1
                return table & ~inside | address >> _PAGE_BITS & inside
        return table

    def _all_below(self, tables: list[int], level: int) -> list[int]:
        """The tables one level below these, each once; bounded, as damaged tables may lead anywhere."""
        below = (frame for table in tables for frame in self._below(table, level))
        return list(dict.fromkeys(islice(below, _MAX_TABLES)))

    def _below(self, table: int, level: int) -> Iterator[int]:
        kernel = 256 if level == self._levels else 0
        for entry in self._entries(table)[kernel:]:
            if entry & _PRESENT and not (level in _LARGE_LEVELS and entry & _LARGE):
                yield self._frame(entry)

    def _entry(self, table: int, level: int, address: int) -> int:
        page = self._read(table)
        if not page or len(page) != _ENTRIES.size:
            return 0
        index = address >> _PAGE_BITS + _INDEX_BITS * (level - 1) & 511
        return int(_ENTRY.unpack_from(page, index * _ENTRY.size)[0])

    def _entries(self, table: int) -> tuple[int, ...]:
        page = self._read(table)
        return _ENTRIES.unpack(page) if page and len(page) == _ENTRIES.size else _NO_ENTRIES

    def _frame(self, entry: int) -> int:
        return (entry & self._address) >> _PAGE_BITS
