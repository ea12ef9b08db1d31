"""What kinds of pages a dump holds, by the memory map: those that its level may exclude. Pure.

The kinds and their marks are makedumpfile's own (makedumpfile.c, __exclude_unnecessary_pages), so that what
it should have left out and did not is seen, whatever its report says. The pages of a compound page, all but
the first, are what the first one is.
"""

from collections.abc import Callable, Mapping
from typing import Final

from attrs import define

from kdumpd.errors import FormatError
from kdumpd.vmcore.memorymap import BLOCK_FRAMES, WORDS, Block, MemoryMap, number

_IS_TAIL: Final = 1
_IS_ANONYMOUS: Final = 1
_STRUCT_BYTES: Final = WORDS * 8
_WORD: Final = (1 << 64) - 1
_HALF: Final = (1 << 32) - 1
_ALL: Final = (1 << BLOCK_FRAMES) - 1
_HIGHEST_ORDER: Final = 16
# From 6.12 on a type is the upper byte of its half, before that all of it counts.
_TYPE_SHIFT: Final = 24


@define(kw_only=True)
class Counts:
    """How many of the pages that were looked at are of a kind that a level may exclude.

    Attributes:
        free: on the lists of free blocks.
        cache: of the page cache.
        private_cache: of the page cache, with data that a file system keeps with them.
        user: anonymous memory of processes.
        hugetlb: of huge pages.
    """

    free: int = 0
    cache: int = 0
    private_cache: int = 0
    user: int = 0
    hugetlb: int = 0


class PageClasses:
    """Counts pages by kind.

    Args:
        memory_map: the crashed kernel's.

    Attributes:
        counts: what was found so far.

    Raises:
        FormatError: VMCOREINFO does not tell what is needed.
    """

    def __init__(self, memory_map: MemoryMap) -> None:
        self.counts = Counts()
        self._map = memory_map
        values = memory_map.values
        self._is_buddy = _type(values, "BUDDY")
        self._is_slab = _type(values, "SLAB") if _has_type(values, "SLAB") else None
        self._slab = 0 if self._is_slab else _flag(values, "slab")
        self._lru = _flag(values, "lru")
        self._swapped = _flag(values, "swapcache") | _flag(values, "swapbacked")
        self._private = _flag(values, "private")
        self._head = number(values, "NUMBER(PG_head_mask)")
        self._hugetlb_mark = _hugetlb_mark(values)
        self._free_end = 0
        self._last: tuple[int, str | None] = (0, None)

    def count(self, block: Block, wanted: int) -> None:
        """Count the frames of a block that are set in `wanted`; blocks come in the order of memory."""
        free = self._free(block)
        self.counts.free += (free & wanted).bit_count()
        for index in self._suspects(block, wanted & ~free):
            kind = self._kind(block, block.address + index * _STRUCT_BYTES)
            if kind is not None:
                setattr(self.counts, kind, getattr(self.counts, kind) + 1)

    def _free(self, block: Block) -> int:
        """The frames on the lists of free blocks, as bits; such a block may go on in the next one."""
        free = (1 << max(0, self._free_end - block.frame)) - 1
        fields = self._map.fields
        for index, half in enumerate(block.halves(fields.mapcount)):
            if self._is_buddy(half):
                frames = 1 << min(block.words[index * WORDS + fields.private], _HIGHEST_ORDER)
                free |= (1 << frames) - 1 << index
                self._free_end = block.frame + index + frames
        return free & _ALL

    def _suspects(self, block: Block, wanted: int) -> list[int]:
        fields = self._map.fields
        flags = self._lru | self._swapped | self._head
        columns = zip(
            block.column(fields.flags), block.column(fields.head), block.column(fields.mapping), strict=True
        )
        return [
            index
            for index, (has, head, mapping) in enumerate(columns)
            if (has & flags or head & _IS_TAIL or mapping & _IS_ANONYMOUS) and wanted >> index & 1
        ]

    def _kind(self, block: Block, address: int) -> str | None:
        """The kind of the page with its struct page at an address, or of the compound page that it is in."""
        head = self._map.word(block, address + self._map.fields.head * 8)
        if head & _IS_TAIL:
            address = _first(head & ~_IS_TAIL, address)
        if self._last[0] != address:
            self._last = (address, self._own_kind(block, address))
        return self._last[1]

    def _own_kind(self, block: Block, address: int) -> str | None:
        fields, word = self._map.fields, self._map.word
        flags = word(block, address + fields.flags * 8)
        half = word(block, address + fields.mapcount // 2 * 8) >> fields.mapcount % 2 * 32 & _HALF
        anonymous = word(block, address + fields.mapping * 8) & _IS_ANONYMOUS
        if flags & self._slab or (self._is_slab and self._is_slab(half)):
            return None
        if flags & self._head and self._is_hugetlb(block, address, half):
            return "hugetlb"
        if anonymous:
            return "user"
        if flags & self._lru or flags & self._swapped == self._swapped:
            return "private_cache" if flags & self._private else "cache"
        return None

    def _is_hugetlb(self, block: Block, address: int, half: int) -> bool:
        offset, shift, mask, value = self._hugetlb_mark
        if offset is None:
            return half >> shift == value
        return self._map.word(block, address + _STRUCT_BYTES + offset) >> shift & mask == value


def _first(head: int, address: int) -> int:
    """The struct page of the first page of a compound page: its address, or from 7.1 on a mask to get it."""
    inverse = ~head & _WORD
    return address & head if inverse & inverse + 1 == 0 else head


def _flag(values: Mapping[str, str], name: str) -> int:
    bit = number(values, f"NUMBER(PG_{name})")
    if not 0 <= bit < 64:
        raise FormatError(f"VMCOREINFO has PG_{name} at bit {bit}")
    return 1 << bit


def _has_type(values: Mapping[str, str], name: str) -> bool:
    return f"NUMBER(PAGE_{name}_MAPCOUNT_VALUE)" in values


def _type_value(values: Mapping[str, str], name: str) -> tuple[int, int]:
    value = number(values, f"NUMBER(PAGE_{name}_MAPCOUNT_VALUE)") & _HALF
    shift = 0 if value & (1 << _TYPE_SHIFT) - 1 else _TYPE_SHIFT
    return shift, value >> shift


def _type(values: Mapping[str, str], name: str) -> Callable[[int], bool]:
    shift, value = _type_value(values, name)
    return lambda half: half >> shift == value


def _hugetlb_mark(values: Mapping[str, str]) -> tuple[int | None, int, int, int]:
    """How a huge page is known: by its type (None), or by something at an offset of its second struct page.

    Returns:
        That offset, how far the word is shifted, its mask, and the value that it has then.
    """
    if _has_type(values, "HUGETLB"):
        shift, value = _type_value(values, "HUGETLB")
        return None, shift, _HALF, value
    if "NUMBER(PG_hugetlb)" in values:  # 6.6 to 6.8
        return 0, number(values, "NUMBER(PG_hugetlb)"), 1, 1
    if "OFFSET(folio._folio_dtor)" in values:  # 6.3 to 6.5
        offset = number(values, "OFFSET(folio._folio_dtor)") - _STRUCT_BYTES
    else:
        offset = number(values, "OFFSET(page.compound_dtor)")
    return offset & ~7, offset % 8 * 8, 0xFF, number(values, "NUMBER(HUGETLB_PAGE_DTOR)")
