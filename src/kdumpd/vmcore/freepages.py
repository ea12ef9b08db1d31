"""Pages that are free and on no buddy list: on lists of the CPUs, which no makedumpfile knows. Pure.

The allocator keeps what was freed last on lists of each CPU (mm/page_alloc.c, struct per_cpu_pages), up to an
eighth of the memory from 6.7 on. Such a page looks like this:

1. Nobody uses it, it has no type and no flag that a page in use has: a candidate.
2. The first page of a free block is linked in a list: its neighbours' links lead back to it.
3. The candidates that follow it without a gap are the rest of its block, which is aligned to its size.

Without the second, the tails of large allocations without ``__GFP_COMP`` would be taken, which are in use;
their links lead to themselves. The third holds because a block that is in use begins with a page that has a
reference: it would stand between.
"""

from typing import Final

from kdumpd.errors import FormatError
from kdumpd.vmcore.memorymap import BLOCK_FRAMES, WORDS, Block, MemoryMap, number

# The rule was tried, against a walk of the lists with debug symbols, on kernels up to this one
# (docs/privacy.md). In a newer one pages in use may look like that.
NEWEST_TRIED: Final = (7, 2)
OLDEST_KNOWN: Final = (5, 10)

# In a page without a type, the count of its mappings is -1; so it was before types, too.
_NO_TYPE: Final = 0xFFFFFFFF
_IS_TAIL: Final = 1
_STRUCT_BYTES: Final = WORDS * 8
# Flags of pages that are in use, or that may not be judged; 0 where a kernel has none of that name.
_FLAGS: Final = ("PG_lru", "PG_private", "PG_swapcache", "PG_swapbacked", "PG_slab", "PG_hwpoison")
_MOST_FLAGS: Final = 64


class FreePages:
    """Finds free pages in a memory map.

    Args:
        memory_map: the crashed kernel's.

    Raises:
        FormatError: the rule does not hold for this kernel, as far as is known; the text says why.
    """

    def __init__(self, memory_map: MemoryMap) -> None:
        if memory_map.release > NEWEST_TRIED:
            raise FormatError(f"kernel {_text(memory_map.release)} is newer than {_text(NEWEST_TRIED)}")
        if memory_map.release < OLDEST_KNOWN:
            raise FormatError(f"kernel {_text(memory_map.release)} is older than {_text(OLDEST_KNOWN)}")
        self._map = memory_map
        self._in_use = _mask(memory_map)

    def free(self, block: Block) -> int:
        """Which frames of a block are free and on a CPU's list, as bits."""
        free, end, before = 0, 0, -1
        for index in self._candidates(block):
            if self._is_linked(block, index):
                end = index + _alignment(block.frame + index)
            elif index != before + 1:
                end = 0
            if index < end:
                free |= 1 << index
            before = index
        return free

    def _candidates(self, block: Block) -> list[int]:
        fields, words = self._map.fields, block.words
        counts = zip(block.halves(fields.refcount), block.halves(fields.mapcount), strict=True)
        unused = [index for index, (refs, kind) in enumerate(counts) if kind == _NO_TYPE and not refs]
        return [
            index
            for index in unused
            if not words[index * WORDS + fields.head] & _IS_TAIL
            and not words[index * WORDS + fields.mapping]
            and not words[index * WORDS + fields.private]
            and not words[index * WORDS + fields.flags] & self._in_use
        ]

    def _is_linked(self, block: Block, index: int) -> bool:
        link = index * WORDS + self._map.fields.lru
        here = block.address + link * 8
        following, before = block.words[link], block.words[link + 1]
        return (
            following != here
            and self._map.word(block, following + 8) == here
            and self._map.word(block, before) == here
        )


def _alignment(frame: int) -> int:
    return min(frame & -frame or BLOCK_FRAMES, BLOCK_FRAMES)


def _mask(memory_map: MemoryMap) -> int:
    values = memory_map.values
    mask = number(values, "NUMBER(PG_head_mask)")
    for name in _FLAGS:
        if f"NUMBER({name})" in values:
            mask |= 1 << number(values, f"NUMBER({name})") % _MOST_FLAGS
    if "NUMBER(PG_slab)" not in values and "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)" not in values:
        raise FormatError("VMCOREINFO does not tell what a slab page is")
    return mask


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
