"""A small valid kdump file, and the flattened stream that makedumpfile would send of it.

The layout is that of makedumpfile's IMPLEMENTATION document. Nothing of kdumpd's own readers is used here:
what they get wrong must not be hidden by getting it wrong twice.
"""

import random
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

PAGE_BYTES: Final = 4096
MAX_PAGES: Final = 8 * PAGE_BYTES
"""More page frames than this would need a second block of bitmap."""

STATUS: Final = {"none": 0, "zlib": 1, "lzo": 2, "snappy": 4, "zstd": 0x20}
END: Final = struct.pack(">qq", -1, -1)

DESCRIPTOR_BYTES: Final = 24
_DESCRIPTOR: Final = struct.Struct("<QIIQ")
_FIRST_FRAME: Final = 16
# Pages of zeros are kept out of a dump of this level and above: all of them share one.
_ZERO_PAGES: Final = 1
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
    frames = range(_FIRST_FRAME, _FIRST_FRAME + pages)
    return build_kdump(
        {frame: _page(number) for number, frame in enumerate(frames)},
        level=level,
        compression=compression,
        vmcoreinfo=vmcoreinfo,
        release=release,
    )


def build_kdump(
    pages: Mapping[int, bytes],
    *,
    level: int,
    compression: str,
    vmcoreinfo: bytes,
    release: str,
    max_mapnr: int = MAX_PAGES,
    block_bytes: int = PAGE_BYTES,
) -> bytes:
    """A complete kdump file with these pages, by their page frame numbers.

    Only zlib really compresses; with another compression named, pages are stored as they are, which is valid
    with each.

    Args:
        pages: the content of each, one block long.
        level: the dump level that the file claims.
        compression: ``none``, ``zlib``, ``lzo``, ``snappy`` or ``zstd``.
        vmcoreinfo: the VMCOREINFO note; without one there are no notes at all.
        release: the kernel release in the header.
        max_mapnr: page frames of the machine, all of which are memory.
        block_bytes: size of a block, which is a page.
    """
    sub_header = padded(_sub_header(vmcoreinfo, level, max_mapnr, block_bytes), block_bytes)
    bitmaps = b"".join(
        padded(_bitmap(frames, max_mapnr), block_bytes) for frames in (range(max_mapnr), pages)
    )
    blocks = (len(sub_header) // block_bytes, len(bitmaps) // block_bytes)
    header = padded(_header(STATUS[compression], release, block_bytes, *blocks), block_bytes)
    front = header + sub_header + bitmaps
    return front + _page_area(pages, len(front), compression, level, block_bytes)


def flattened_records(dump: bytes) -> Iterator[bytes]:
    """The flattened stream of a file that ``make_kdump`` made: header, records, end.

    As makedumpfile does, descriptors are written in batches, each followed by the data that it describes.
    """
    yield struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
    start = descriptors_offset(dump)
    for offset in range(0, start, PAGE_BYTES):
        yield make_record(offset, dump[offset : offset + PAGE_BYTES])
    pages = int.from_bytes(dump[start - PAGE_BYTES : start], "little").bit_count()
    written = first_data = start + pages * DESCRIPTOR_BYTES
    for offset in range(start, first_data, _PAGES_AT_ONCE * DESCRIPTOR_BYTES):
        batch = dump[offset : min(offset + _PAGES_AT_ONCE * DESCRIPTOR_BYTES, first_data)]
        yield make_record(offset, batch)
        last_offset, last_bytes, _, _ = list(_DESCRIPTOR.iter_unpack(batch))[-1]
        yield make_record(written, dump[written : last_offset + last_bytes])
        written = last_offset + last_bytes
    yield END


def make_record(offset: int, data: bytes) -> bytes:
    """One record of a flattened stream."""
    return struct.pack(">qq", offset, len(data)) + data


def _page(number: int) -> bytes:
    if number % 2:
        return random.Random(number).randbytes(PAGE_BYTES)
    return (b"page %d of the crashed kernel. " % number * 200)[:PAGE_BYTES]


def descriptors_offset(dump: bytes) -> int:
    """Where the page descriptors of a kdump file start."""
    block_bytes, sub_header_blocks, bitmap_blocks = struct.unpack_from("<III", dump, 428)
    return int((1 + sub_header_blocks + bitmap_blocks) * block_bytes)


def make_note(name: bytes, kind: int, content: bytes) -> bytes:
    """One ELF note."""
    head = struct.pack("<III", len(name) + 1, len(content), kind)
    return head + padded(name + b"\0", 4) + padded(content, 4)


def padded(data: bytes, multiple: int) -> bytes:
    """The data with zeros behind it, up to a multiple of so many bytes."""
    return data + bytes(-len(data) % multiple)


def _header(status: int, release: str, block_bytes: int, sub_header_blocks: int, bitmap_blocks: int) -> bytes:
    """The struct disk_dump_header of a 64-bit machine (diskdump_mod.h)."""
    names = (b"Linux", b"edge-7", release.encode(), b"#1 SMP", b"x86_64", b"(none)")
    utsname = b"".join(name.ljust(65, b"\0") for name in names)
    start = struct.pack("<8si390s6xqq", b"KDUMP   ", 6, utsname, 1795401640, 0)
    sizes = struct.pack("<IiiI", status, block_bytes, sub_header_blocks, bitmap_blocks)
    return start + sizes + struct.pack("<IIIIIi", 0, 0, 0, 0, 0, 2)


def _sub_header(vmcoreinfo: bytes, level: int, max_mapnr: int, block_bytes: int) -> bytes:
    """The struct kdump_sub_header, and the ELF notes behind it."""
    notes = make_note(b"CORE", 1, bytes(336)) + make_note(b"VMCOREINFO", 0, vmcoreinfo) if vmcoreinfo else b""
    offset = block_bytes + 104
    content = offset + len(notes) - (len(vmcoreinfo) + 3 & ~3)
    offsets = (content, len(vmcoreinfo), offset, len(notes)) if notes else (0, 0, 0, 0)
    return struct.pack("<Qii11Q", 0x1000000, level, 0, 0, 0, *offsets, 0, 0, 0, 0, max_mapnr) + notes


def _bitmap(frames: Iterable[int], max_mapnr: int) -> bytes:
    bits = bytearray(-(-max_mapnr // 8))
    for frame in frames:
        bits[frame // 8] |= 1 << frame % 8
    return bytes(bits)


def _page_area(
    pages: Mapping[int, bytes], offset: int, compression: str, level: int, block_bytes: int
) -> bytes:
    """All page descriptors, then all data; the page of zeros comes first if the level excludes them."""
    offset += len(pages) * DESCRIPTOR_BYTES
    zeros = bytes(block_bytes)
    data = bytearray(zeros if level & _ZERO_PAGES else b"")
    descriptors = bytearray()
    for _, page in sorted(pages.items()):
        if level & _ZERO_PAGES and page == zeros:
            descriptors += _DESCRIPTOR.pack(offset, block_bytes, 0, 0)
            continue
        packed = zlib.compress(page, 1) if compression == "zlib" else page
        stored, flags = (packed, STATUS["zlib"]) if len(packed) < block_bytes else (page, 0)
        descriptors += _DESCRIPTOR.pack(offset + len(data), len(stored), flags, 0)
        data += stored
    return bytes(descriptors + data)
