"""A small valid kdump file, and the flattened stream that makedumpfile would send of it.

The layout is that of makedumpfile's IMPLEMENTATION document. Nothing of kdumpd's own readers is used here:
what they get wrong must not be hidden by getting it wrong twice.
"""

import random
import struct
import zlib
from collections.abc import Iterator
from typing import Final

PAGE_BYTES: Final = 4096
MAX_PAGES: Final = 8 * PAGE_BYTES
"""More page frames than this would need a second block of bitmap."""

STATUS: Final = {"none": 0, "zlib": 1, "lzo": 2, "zstd": 0x20}
END: Final = struct.pack(">qq", -1, -1)

_FIRST_FRAME: Final = 16
_BLOCKS_BEFORE_BITMAPS: Final = 2
_DESCRIPTOR: Final = struct.Struct("<QIIQ")
# makedumpfile writes its data in buffers of this size, each after the descriptors that belong to it.
_PAGES_AT_ONCE: Final = 16


def make_kdump(
    *,
    pages: int = 64,
    level: int = 31,
    compression: str = "lzo",
    vmcoreinfo: bytes = b"",
    release: str = "6.12.0",
) -> bytes:
    """A complete kdump file of a machine with so many pages of memory worth keeping.

    Half of the pages are text that compresses well, half are noise. Only zlib really compresses; with another
    compression named, pages are stored as they are, which is valid with each.

    Args:
        pages: how many, 1 to 32000.
        level: the dump level that the file claims.
        compression: ``none``, ``zlib``, ``lzo`` or ``zstd``.
        vmcoreinfo: the VMCOREINFO note.
        release: the kernel release in the header.
    """
    front = _header(STATUS[compression], release) + _sub_header(level, vmcoreinfo) + _bitmaps(pages)
    offset = len(front) + pages * _DESCRIPTOR.size
    descriptors, data = b"", b""
    for number in range(pages):
        page = _page(number)
        packed = zlib.compress(page, 1) if compression == "zlib" else page
        stored, flags = (packed, STATUS["zlib"]) if len(packed) < len(page) else (page, 0)
        descriptors += _DESCRIPTOR.pack(offset + len(data), len(stored), flags, 0)
        data += stored
    return front + descriptors + data


def flattened_records(dump: bytes) -> Iterator[bytes]:
    """The flattened stream of a file that ``make_kdump`` made: header, records, end.

    As makedumpfile does, descriptors are written by turns with the data that they describe.
    """
    yield struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
    start = _descriptors_offset(dump)
    for offset in range(0, start, PAGE_BYTES):
        yield make_record(offset, dump[offset : offset + PAGE_BYTES])
    first_data = _DESCRIPTOR.unpack_from(dump, start)[0]
    step = _PAGES_AT_ONCE * _DESCRIPTOR.size
    for offset in range(start, first_data, step):
        piece = dump[offset : min(offset + step, first_data)]
        yield make_record(offset, piece)
        described = list(_DESCRIPTOR.iter_unpack(piece))
        end = described[-1][0] + described[-1][1]
        yield make_record(described[0][0], dump[described[0][0] : end])
    yield END


def make_record(offset: int, data: bytes) -> bytes:
    """One record of a flattened stream."""
    return struct.pack(">qq", offset, len(data)) + data


def _page(number: int) -> bytes:
    if number % 2:
        return random.Random(number).randbytes(PAGE_BYTES)
    return (b"page %d of the crashed kernel. " % number * 200)[:PAGE_BYTES]


def _block(data: bytes) -> bytes:
    return data + bytes(-len(data) % PAGE_BYTES)


def _header(status: int, release: str) -> bytes:
    """The struct disk_dump_header of a 64-bit machine (diskdump_mod.h)."""
    names = (b"Linux", b"edge", release.encode(), b"#1 SMP", b"x86_64", b"(none)")
    utsname = b"".join(name.ljust(65, b"\0") for name in names)
    front = struct.pack("<8si390s6xqq", b"KDUMP   ", 6, utsname, 0, 0)
    return _block(front + struct.pack("<IIII24x", status, PAGE_BYTES, 1, 2))


def _sub_header(level: int, vmcoreinfo: bytes) -> bytes:
    """The struct kdump_sub_header, with VMCOREINFO right behind it."""
    note = (PAGE_BYTES + 104, len(vmcoreinfo)) if vmcoreinfo else (0, 0)
    return _block(struct.pack("<QII16xQQ48xQ", 0, level, 0, *note, MAX_PAGES) + vmcoreinfo)


def _bitmaps(pages: int) -> bytes:
    """All memory in the first; in the second the frames that are in the dump, from frame 16 on."""
    kept = ((1 << pages) - 1) << _FIRST_FRAME
    return b"\xff" * PAGE_BYTES + kept.to_bytes(PAGE_BYTES, "little")


def _descriptors_offset(dump: bytes) -> int:
    sub_header_blocks, bitmap_blocks = struct.unpack_from("<II", dump, 432)
    return int((1 + sub_header_blocks + bitmap_blocks) * PAGE_BYTES)
