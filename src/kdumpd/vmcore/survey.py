"""One look at the memory map for what a dump is to hold: what of it is free, and of which kinds it is."""

from typing import Self

from kdumpd.vmcore.freepages import FreePages
from kdumpd.vmcore.memory import Memory
from kdumpd.vmcore.memorymap import BITS_BYTES, MemoryMap
from kdumpd.vmcore.pageclasses import Counts, PageClasses


class Survey:
    """Looks at frames part by part, in the order of memory. All of it blocks.

    A million frames take less than a second of one core; memory does not grow with them.

    Args:
        memory: the crashed memory; it belongs to this object.

    Attributes:
        free_pages: those found that are free and on a CPU's list.
        unknown_pages: those of which the map has no struct page that can be read.

    Raises:
        FormatError: this kernel's memory map cannot be judged; the text says why.
    """

    def __init__(self, memory: Memory) -> None:
        self.free_pages = 0
        self.unknown_pages = 0
        self._memory = memory
        self._map = MemoryMap(memory)
        self._free = FreePages(self._map)
        self._classes = PageClasses(self._map)

    @classmethod
    def open(cls, vmcore: str) -> Self:
        """Open a vmcore.

        Raises:
            FormatError: it cannot be read, or judged.
        """
        memory = Memory.open(vmcore)
        try:
            return cls(memory)
        except BaseException:
            memory.close()
            raise

    def close(self) -> None:
        """Let go of the vmcore."""
        self._memory.close()

    @property
    def counts(self) -> Counts:
        """How many of the frames that were looked at are of a kind that a level may exclude."""
        return self._classes.counts

    def free_among(self, first_frame: int, bits: bytes) -> bytes:
        """Which of these frames are free and on a CPU's list, as a bitmap of the same length.

        Args:
            first_frame: the frame of the bitmap's first bit, a multiple of 512.
            bits: the bitmap, a multiple of 64 bytes long.
        """
        found = bytearray(len(bits))
        for frame, wanted, block in self._map.blocks(first_frame, bits):
            if block is None:
                self.unknown_pages += wanted.bit_count()
                continue
            free = self._free.free(block) & wanted
            self._classes.count(block, wanted & ~free)
            self.free_pages += free.bit_count()
            place = (frame - first_frame) // 8
            found[place : place + BITS_BYTES] = free.to_bytes(BITS_BYTES, "little")
        return bytes(found)
