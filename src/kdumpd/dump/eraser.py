"""Leaves free pages out of a dump while its stream passes: what never reaches the disk needs no erasing.

Pure. makedumpfile sends the file's headers and bitmaps first, then by turns some page descriptors and the
pages that they describe; at the end the last pages come before their descriptors (for the layout see
`kdumpfile`). With little memory it sends a part of the 2nd bitmap before each part of the pages. So when a
descriptor comes it is known whose it is, and the memory map can be asked whether that page is free.

The descriptor of a free page is led to the page of zeros that all zero pages share, and its data is left out:
the file has a hole there. All else stays as it is, byte by byte.
"""

import zlib
from collections import deque
from collections.abc import Iterator
from typing import Final, Self

from attrs import frozen

from kdumpd.dump.freemarks import FindFree, FreeMarks
from kdumpd.dump.kdumpfile import BLOCK_SIZES, DESCRIPTOR, HEADER, SIGNATURE, SUB_HEADER, Descriptor
from kdumpd.dump.makedumpfile import ZERO_PAGES
from kdumpd.dump.records import Piece, Records
from kdumpd.errors import FormatError

# The last pages come before their descriptors, and are less than 64 KiB.
_MOST_HELD_BYTES: Final = 1 << 20
# The sub-header is in the second block, and a block has at most 64 KiB.
_FRONT_BYTES: Final = (1 << 16) + SUB_HEADER.size
_ZLIB: Final = 0x01


class Eraser:
    """Leaves the free pages out of one stream.

    When something is not as it should be, or cannot be told, the rest of the stream passes as it is.

    Args:
        find_free: says which frames are free.

    Attributes:
        erased: pages left out so far.
        erased_bytes: what they would have taken in the file.
        why_not: why no more are left out; None while they are.
    """

    def __init__(self, find_free: FindFree) -> None:
        self.erased = 0
        self.erased_bytes = 0
        self.why_not: str | None = None
        self._records = Records()
        self._marks = FreeMarks(find_free)
        self._front = bytearray()
        self._form: _Form | None = None
        self._next = 0
        self._torn = b""
        self._data: int | None = None
        self._described_end = 0
        self._zeros: Descriptor | None = None
        self._holes: deque[tuple[int, int]] = deque()
        self._held: list[Piece] = []

    @property
    def ended(self) -> bool:
        """True when the end record has come."""
        return self._records.ended

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take the next bytes of the stream, however they are cut; give what is to be written, in order.

        Raises:
            FormatError: the stream is damaged.
        """
        for offset, content in self._records.feed(data):
            yield from self._pass(offset, content)
        if self.ended and (self._held or self._torn):
            yield from self._give_up("the last pages have no descriptors")

    def _pass(self, offset: int, data: bytes) -> Iterator[Piece]:
        if self.why_not is not None:
            yield from self._without_holes(offset, data)
            return
        try:
            yield from self._changed(offset, data)
        except FormatError as error:
            yield from self._give_up(str(error))
            yield offset, data

    def _give_up(self, why: str) -> Iterator[Piece]:
        self.why_not = why
        if self._form and self._torn:
            yield self._form.descriptors_offset + self._next * DESCRIPTOR.size, self._torn
        yield from self._held
        self._torn, self._held = b"", []

    def _changed(self, offset: int, data: bytes) -> list[Piece]:
        """What is to be written of a record; where this fails, nothing was."""
        form = self._form or self._learn(offset, data)
        if form is None or offset < form.descriptors_offset:
            if form is not None and offset + len(data) > form.second_offset:
                start = max(offset, form.second_offset)
                self._marks.add(start - form.second_offset, data[start - offset :])
            return [(offset, data)]
        if self._describes(form, offset):
            return self._described(form, offset, data)
        return self._pages(offset, data)

    def _learn(self, offset: int, data: bytes) -> "_Form | None":
        """Gather the headers, which come in any order, until the bitmaps begin."""
        form = _Form.read(bytes(self._front))
        if form is not None and offset >= form.bitmap_offset:
            self._form = form
            return form
        if part := data[: max(0, _FRONT_BYTES - offset)]:
            self._front.extend(bytes(max(0, offset + len(part) - len(self._front))))
            self._front[offset : offset + len(part)] = part
        return None

    def _describes(self, form: "_Form", offset: int) -> bool:
        """Whether a record is of descriptors: they go on where the last ones ended, until the pages begin."""
        expected = form.descriptors_offset + self._next * DESCRIPTOR.size + len(self._torn)
        return offset == expected and (self._data is None or offset < self._data)

    def _described(self, form: "_Form", offset: int, data: bytes) -> list[Piece]:
        # After many zero pages a record can end inside a descriptor, which waits for the rest of it.
        offset, data = offset - len(self._torn), self._torn + data
        count = len(data) // DESCRIPTOR.size
        whole = data[: count * DESCRIPTOR.size]
        if self._data is None and whole:
            self._find_data(form, whole)
        descriptors, pieces = bytearray(whole), []
        for index in self._marks.take(count):
            pieces += self._erase(form, descriptors, index)
        self._next += count
        self._torn = data[len(whole) :]
        self._described_end = max(self._described_end, self._end_of(form, whole))
        held, self._held = self._held, []
        for place, content in held:
            pieces += self._pages(place, content)
        return [*pieces, (offset, bytes(descriptors))] if whole else pieces

    def _find_data(self, form: "_Form", descriptors: bytes) -> None:
        """Where the data begins: with the page of zeros, if the level has one, else with the first page.

        No size of block is a multiple of a descriptor's, so only one of the two leaves room for whole ones.
        """
        first, _, _ = DESCRIPTOR.unpack_from(descriptors)
        shared = form.block_bytes if form.level & ZERO_PAGES else 0
        for offset in (first, first - shared):
            if offset > form.descriptors_offset and (offset - form.descriptors_offset) % DESCRIPTOR.size == 0:
                self._data, self._described_end = offset, offset + shared
                self._zeros = (offset, shared, 0) if shared else None
                return
        raise FormatError(f"the first page descriptor leads to {first}")

    def _erase(self, form: "_Form", descriptors: bytearray, index: int) -> list[Piece]:
        """Lead a descriptor to the page of zeros, and leave its data out."""
        offset, size, _ = DESCRIPTOR.unpack_from(descriptors, index * DESCRIPTOR.size)
        pieces = []
        if self._zeros is None:
            # Only a level that excludes zero pages has one; else the first page that is left out makes room.
            zeros = zlib.compress(bytes(form.block_bytes), 9)
            if size < len(zeros):
                return []
            self._zeros = (offset, len(zeros), _ZLIB)
            pieces = [(offset, zeros)]
        elif offset == self._zeros[0]:
            return []
        DESCRIPTOR.pack_into(descriptors, index * DESCRIPTOR.size, *self._zeros)
        self.erased += 1
        self.erased_bytes += size
        if self._holes and self._holes[-1][1] == offset:
            self._holes[-1] = (self._holes[-1][0], offset + size)
        else:
            self._holes.append((offset, offset + size))
        return pieces

    def _end_of(self, form: "_Form", descriptors: bytes) -> int:
        """Where the pages of these descriptors end: they are in order, but for the page of zeros."""
        zeros = self._data if form.level & ZERO_PAGES else None
        for place in range(len(descriptors) - DESCRIPTOR.size, -1, -DESCRIPTOR.size):
            offset, size, _ = DESCRIPTOR.unpack_from(descriptors, place)
            if offset != zeros:
                return int(offset + size)
        return self._described_end

    def _pages(self, offset: int, data: bytes) -> list[Piece]:
        """What is left of pages; those that are not yet described are held back."""
        if self._held or offset + len(data) > self._described_end:
            self._held.append((offset, data))
            if sum(len(content) for _, content in self._held) > _MOST_HELD_BYTES:
                raise FormatError("pages come long before their descriptors")
            return []
        return self._without_holes(offset, data)

    def _without_holes(self, offset: int, data: bytes) -> list[Piece]:
        pieces, start, end = [], offset, offset + len(data)
        while self._holes and self._holes[0][0] < end:
            hole, hole_end = self._holes[0]
            if hole > start:
                pieces.append((start, data[start - offset : hole - offset]))
            start = max(start, hole_end)
            if hole_end > end:
                break
            self._holes.popleft()
        if start < end:
            pieces.append((start, data[start - offset :]))
        return pieces


@frozen(kw_only=True)
class _Form:
    """Where a dump has what, as its headers say."""

    block_bytes: int
    level: int
    bitmap_offset: int
    second_offset: int
    descriptors_offset: int

    @classmethod
    def read(cls, front: bytes) -> Self | None:
        """Read it from the file's first bytes; None while they are too few.

        Raises:
            FormatError: they are not a kdump file's.
        """
        if len(front) < HEADER.size:
            return None
        signature, _, _, _, block_bytes, sub_header_blocks, bitmap_blocks = HEADER.unpack_from(front)
        if signature != SIGNATURE or block_bytes not in BLOCK_SIZES:
            raise FormatError("the stream is not of a kdump file")
        if len(front) < block_bytes + SUB_HEADER.size:
            return None
        bitmap_offset = (1 + sub_header_blocks) * block_bytes
        return cls(
            block_bytes=block_bytes,
            level=SUB_HEADER.unpack_from(front, block_bytes)[0],
            bitmap_offset=bitmap_offset,
            second_offset=bitmap_offset + bitmap_blocks // 2 * block_bytes,
            descriptors_offset=bitmap_offset + bitmap_blocks * block_bytes,
        )
