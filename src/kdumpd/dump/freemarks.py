"""Which page descriptors of a dump are those of free pages, told in the order in which they come. Pure."""

from collections import deque
from collections.abc import Callable
from typing import Final

from kdumpd.errors import FormatError

FindFree = Callable[[int, bytes], bytes]
"""Says which frames of a bitmap are free, as a bitmap of the same length; the number is its first frame's.

It may block, and raises FormatError where it cannot tell. ``vmcore.survey.Survey.free_among`` is one.
"""

# So much of the bitmap is looked at in one go: 128 MiB of memory, some 20 ms.
_LOOK_BYTES: Final = 4096
# The memory map is looked at in steps of so much of a bitmap (`memorymap.BITS_BYTES`).
_GROUP_BYTES: Final = 64


class FreeMarks:
    """Marks the descriptors of free pages: there is one for each bit of the 2nd bitmap, in order.

    The memory map is looked at as far as descriptors have come, so a long look delays nothing for long.

    Args:
        find_free: says which frames are free.
    """

    def __init__(self, find_free: FindFree) -> None:
        self._find_free = find_free
        self._bits = bytearray()
        self._bits_bytes = 0
        self._frame = 0
        self._left = 0
        self._marks: deque[int] = deque()
        self._taken = 0

    def add(self, place: int, bits: bytes) -> None:
        """Take a part of the 2nd bitmap, by where it begins in there.

        Raises:
            FormatError: it does not go on where the last part ended.
        """
        if place != self._bits_bytes or place % _GROUP_BYTES:
            raise FormatError(f"the bitmap goes on at {place}, not at {self._bits_bytes}")
        self._bits += bits
        self._bits_bytes += len(bits)

    def take(self, count: int) -> list[int]:
        """Which of the next `count` descriptors are those of free pages, as indexes among them.

        Raises:
            FormatError: the bitmap has no bit for one, or it cannot be told what is free.
        """
        end = self._taken + count
        while self._taken + self._left < end:
            self._look()
        free = []
        while self._marks and self._marks[0] < end:
            free.append(self._marks.popleft() - self._taken)
        self._left -= count
        self._taken = end
        return free

    def _look(self) -> None:
        """Look at the next part of the bitmap; the marks are indexes of descriptors from the first one on."""
        bits = bytes(memoryview(self._bits)[:_LOOK_BYTES])
        if not bits:
            raise FormatError("there are more page descriptors than bits")
        del self._bits[:_LOOK_BYTES]
        bits += bytes(-len(bits) % _GROUP_BYTES)
        found = self._find_free(self._frame, bits)
        self._frame += len(bits) * 8
        for place in range(0, len(bits), _GROUP_BYTES):
            kept = int.from_bytes(bits[place : place + _GROUP_BYTES], "little")
            free = int.from_bytes(found[place : place + _GROUP_BYTES], "little") & kept
            while free:
                lowest = free & -free
                self._marks.append(self._taken + self._left + (kept & lowest - 1).bit_count())
                free ^= lowest
            self._left += kept.bit_count()
