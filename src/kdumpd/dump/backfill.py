"""Backfill: pages that a cut dump was to hold, and does not, are put into it.

makedumpfile writes the bitmap of the pages that it keeps before any page. So it is known what a dump was to
hold however early it was cut, and no other page gets in. For the format see `kdumpfile`.

At every moment each descriptor is empty or leads to its own page: it is emptied before its data is
overwritten, and written after its new data. So the dump is sound wherever this stops, at an error or in a
thread that is left behind. A power cut needs no such order: until the whole file is synced it has a temporary
name, and the next run removes it.
"""

import os
from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from kdumpd.dump.kdumpfile import DESCRIPTOR, Check, descriptors, is_sound
from kdumpd.errors import FormatError
from kdumpd.vmcore.headers import read_exactly

# Upper bound of what is put in, and of what is overwritten for it in a dump that may not get longer. The
# kernel's image takes 12 MiB, compressed, and what it points to another 8 to 15 (measured on 2 and 8 GiB).
ROOM_BYTES: Final = 32 << 20

# The bitmap is read in chunks. One covers 128 MiB of memory with pages of 4 KiB.
_CHUNK_BYTES: Final = 4096
_CHUNK_FRAMES: Final = 8 * _CHUNK_BYTES
_CACHED_CHUNKS: Final = 64
# The first page must stay where it is: readers, and `kdumpfile.check`, see from it where the data begins.
_SMALLEST_PAGES: Final = 16
_ZLIB: Final = 0x01
_EMPTY: Final = bytes(DESCRIPTOR.size)


class Backfill:
    """Fills the gaps of one dump. Every method blocks.

    Pages go to the end of the file. Where it may not get that much longer they replace the last
    pages in it: no more than needed, and none in its first quarter.

    Args:
        fd: the dump, open for reading and writing; it belongs to this object.
        check: what its check found.
        limit_bytes: how long the file may get; None for no limit.

    Attributes:
        filled: pages put in so far.
        changed: the file has changed since its check.
        full: there is no more room.
    """

    def __init__(self, fd: int, check: Check, *, limit_bytes: int | None) -> None:
        self.filled = 0
        self.changed = False
        self.full = False
        self._fd = fd
        self._check = check
        self._header = check.header
        self._data = self._header.descriptors_offset + check.expected_pages * DESCRIPTOR.size
        self._next_offset = check.size_bytes
        if limit_bytes is not None:
            quarter = self._data + (limit_bytes - self._data) // 4
            self._next_offset = min(self._next_offset, max(quarter, limit_bytes - ROOM_BYTES))
        self._end = self._next_offset + ROOM_BYTES
        if limit_bytes is not None:
            self._end = min(self._end, limit_bytes)
        self._before = array("Q")
        self._tail = range(0)
        self._chunk = lru_cache(_CACHED_CHUNKS)(self._read_chunk)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def prepare(self) -> None:
        """Count the bitmap's bits, and empty descriptors whose data is missing: new data will be put there.

        Raises:
            FormatError: there is too little room, or the pages are not in makedumpfile's order.
            OSError: it cannot be written.
        """
        if self._end - self._data < _SMALLEST_PAGES * self._header.block_bytes:
            raise FormatError(f"{self._end - self._data} bytes are too few to fill gaps in")
        self._count()
        self._find_tail()

    def expects(self, frame: int) -> bool:
        """Whether the dump was to hold the page of this frame.

        Raises:
            FormatError: the dump cannot be read.
        """
        chunk, bit = divmod(frame, _CHUNK_FRAMES)
        return 0 <= frame < self._header.max_mapnr and bool(self._chunk(chunk) >> bit & 1)

    def lacks(self, frame: int) -> bool:
        """Whether the dump was to hold this page and does not, or holds it where it may be overwritten.

        Raises:
            FormatError: the dump cannot be read.
        """
        if not self.expects(frame):
            return False
        offset, size_bytes, _ = self._descriptor(self._index(frame))
        return offset == 0 or offset + size_bytes > self._next_offset

    def fill(self, pages: Mapping[int, bytes]) -> None:
        """Put in those of these pages that fit; by frame number, each compressed with zlib or as it is.

        Raises:
            FormatError: the dump cannot be read.
            OSError: it cannot be written.
        """
        placed, end = [], self._next_offset
        for frame, data in pages.items():
            if not self.lacks(frame):
                continue
            self.full = end + len(data) > self._end
            if self.full:
                break
            placed.append((frame, end, data))
            end += len(data)
        if not placed:
            return
        self.changed = True
        self._empty_up_to(end)
        _write(self._fd, b"".join(data for _, _, data in placed), self._next_offset)
        for frame, offset, data in placed:
            flags = _ZLIB if len(data) < self._header.block_bytes else 0
            self._describe(self._index(frame), DESCRIPTOR.pack(offset, len(data), flags))
        self._next_offset = end
        self.filled += len(placed)

    def _count(self) -> None:
        """Count the pages before each chunk of the bitmap."""
        total = 0
        for number in range(-(-self._header.bitmap_bytes // _CHUNK_BYTES)):
            self._before.append(total)
            total += self._read_chunk(number).bit_count()

    def _find_tail(self) -> None:
        """Empty what is unsound; find the descriptors of the data that new pages will overwrite."""
        start = last = None
        highest = 0
        for index, descriptor in enumerate(descriptors(self._fd, self._header, self._check.expected_pages)):
            offset, size_bytes, _ = descriptor
            if not any(descriptor):
                continue
            if not is_sound(descriptor, self._header, self._data, self._check.size_bytes):
                self._describe(index, _EMPTY)
                continue
            last = index
            if offset + size_bytes > self._next_offset and start is None:
                start = index
            if offset != self._data and offset < highest:
                raise FormatError("the dump's pages are not in order")
            highest = max(highest, offset)
        if start is not None and last is not None:
            self._tail = range(start, last + 1)

    def _empty_up_to(self, end: int) -> None:
        """Empty the descriptors of the data from the next page on to this offset."""
        while self._tail:
            offset, size_bytes, _ = self._descriptor(self._tail[0])
            if offset >= end:
                return
            if offset + size_bytes > self._next_offset:
                self._describe(self._tail[0], _EMPTY)
            self._tail = self._tail[1:]

    def _read_chunk(self, number: int) -> int:
        start = self._header.bitmap_offset + self._header.bitmap_bytes
        return int.from_bytes(read_exactly(self._fd, start + number * _CHUNK_BYTES, _CHUNK_BYTES), "little")

    def _index(self, frame: int) -> int:
        """The index of a frame's descriptor: there is one for each bit, in order."""
        chunk, bit = divmod(frame, _CHUNK_FRAMES)
        return self._before[chunk] + (self._chunk(chunk) & (1 << bit) - 1).bit_count()

    def _descriptor_offset(self, index: int) -> int:
        return self._header.descriptors_offset + index * DESCRIPTOR.size

    def _descriptor(self, index: int) -> tuple[int, int, int]:
        # The file may end in the middle of its descriptors.
        return DESCRIPTOR.unpack(read_exactly(self._fd, self._descriptor_offset(index), DESCRIPTOR.size))

    def _describe(self, index: int, descriptor: bytes) -> None:
        _write(self._fd, descriptor, self._descriptor_offset(index))


def _write(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
