"""Flattened streams of a kdump file for tests, in the order in which ``makedumpfile -F`` sends one.

Nothing of kdumpd is used here. The order is what makedumpfile 1.7.2 and 1.7.8 were seen to send: header,
notes, sub-header, both bitmaps, then by turns descriptors and their pages; the last pages come before their
descriptors.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence

from tests import makedump

HEADER = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
END = struct.pack(">qq", -1, -1)
Records = Sequence[tuple[int, bytes]]


def stream(records: Iterable[tuple[int, bytes]]) -> bytes:
    """The bytes of a stream with these records."""
    return HEADER + b"".join(struct.pack(">qq", place, len(data)) + data for place, data in records) + END


def records(
    dump: bytes, *, pages: int, at_once: int, bits_bytes: int | None = None
) -> list[tuple[int, bytes]]:
    """The records of a dump made by `makedump.kdump`.

    `at_once` pages are sent by turns with their descriptors. With `bits_bytes` the 2nd bitmap is sent in such
    parts, each before the first batch that needs it, as makedumpfile does that has little memory.
    """
    start = makedump.descriptors_offset(dump)
    block_bytes, sub_blocks, bitmap_blocks = struct.unpack_from("<III", dump, 428)
    sub, bitmaps = block_bytes, (1 + sub_blocks) * block_bytes
    second = bitmaps + bitmap_blocks // 2 * block_bytes
    notes = sub + 104
    front = [
        (0, dump[:464]),
        (notes, dump[notes:bitmaps]),
        (sub, dump[sub:notes]),
        (bitmaps, dump[bitmaps:second]),
    ]
    parts = _parts(dump, second, start, bits_bytes or start - second)
    return [*front, *_batches(dump, parts, start, pages, at_once)]


def placed(pieces: Iterable[tuple[int, bytes]]) -> bytes:
    """The file that records make."""
    file = bytearray()
    for place, data in pieces:
        file.extend(bytes(max(0, place + len(data) - len(file))))
        file[place : place + len(data)] = data
    return bytes(file)


def _parts(dump: bytes, start: int, end: int, size: int) -> list[tuple[int, bytes, int]]:
    """The parts of the 2nd bitmap, and how many bits there are up to the end of each."""
    found, bits = [], 0
    for place in range(start, end, size):
        part = dump[place : min(place + size, end)]
        bits += int.from_bytes(part, "little").bit_count()
        found.append((place, part, bits))
    return found


def _batches(
    dump: bytes, parts: list[tuple[int, bytes, int]], start: int, pages: int, at_once: int
) -> Iterator[tuple[int, bytes]]:
    data = start + pages * makedump.DESCRIPTOR_BYTES
    sent, bits = data, 0
    for first in range(0, pages, at_once):
        last = min(first + at_once, pages)
        while bits < last or (last == pages and parts):
            place, part, bits = parts.pop(0)
            yield place, part
        described = (start + first * 24, dump[start + first * 24 : start + last * 24])
        end = (
            max(offset + size for offset, size in _data(dump, start, 0, last)) if last < pages else len(dump)
        )
        batch = [described, (sent, dump[sent:end])] if end > sent else [described]
        yield from batch if last < pages else reversed(batch)
        sent = max(end, sent)


def _data(dump: bytes, start: int, first: int, last: int) -> Iterator[tuple[int, int]]:
    for index in range(first, last):
        yield struct.unpack_from("<QI", dump, start + index * 24)
