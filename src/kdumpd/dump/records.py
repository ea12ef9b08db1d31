"""The records of a flattened stream, cut out of its bytes as they come. Pure."""

import struct
from collections.abc import Iterator
from typing import Final

from kdumpd.dump.flattened import END_OFFSET, HEADER_BYTES, SIGNATURE, Record, parse_header, parse_record

_HEAD: Final = struct.Struct(">qq")
# makedumpfile writes page descriptors and pages in records of at most 64 KiB, and a bitmap of a large machine
# in one of some MiB, which is passed on in pieces.
PIECE_BYTES: Final = 1 << 20

Piece = tuple[int, bytes]
"""Data, after the offset in the file that it goes to."""


class Records:
    """Cuts a stream into its records.

    Attributes:
        ended: the end record has come.
    """

    def __init__(self) -> None:
        self.ended = False
        self._data = bytearray()
        self._begun = False
        self._record: Record | None = None

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take the next bytes, however they are cut; give the records that are whole, long ones in pieces.

        Raises:
            FormatError: the stream is damaged.
        """
        self._data += data
        while not self.ended:
            if self._record is None:
                if not self._read_head():
                    return
                continue
            size = min(self._record.size_bytes, PIECE_BYTES)
            if len(self._data) < size:
                return
            yield self._record.offset, self._take(size)
            rest = self._record.size_bytes - size
            self._record = Record(offset=self._record.offset + size, size_bytes=rest) if rest else None

    def _read_head(self) -> bool:
        if not self._begun:
            if len(self._data) < HEADER_BYTES:
                return False
            parse_header(self._take(HEADER_BYTES))
            self._begun = True
        if len(self._data) < _HEAD.size:
            return False
        record = parse_record(self._take(_HEAD.size))
        self.ended = record.is_end
        self._record = None if record.is_end else record
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._data)[:size])
        del self._data[:size]
        return taken


def packed_header() -> bytes:
    """The first bytes of a stream."""
    return struct.pack(">16sqq", SIGNATURE, 1, 1).ljust(HEADER_BYTES, b"\0")


def packed(offset: int, data: bytes) -> bytes:
    """One record."""
    return _HEAD.pack(offset, len(data)) + data


def packed_end() -> bytes:
    """The record that ends a stream."""
    return _HEAD.pack(END_OFFSET, END_OFFSET)
