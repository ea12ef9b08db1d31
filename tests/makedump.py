"""Small valid kdump files and ELF vmcores for tests, built as the formats' documents lay them out.

Nothing of kdumpd is used here, so that a mistake in a parser cannot hide itself. `kdump` builds what
`makedumpfile -c -d LEVEL` would write for the given pages, `vmcore` what /proc/vmcore looks like.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence

VMCOREINFO = (
    b"OSRELEASE=6.12.49-linuxkit\n"
    b"BUILD-ID=3b43fad5034874490492495d552c0af6a5fab235\n"
    b"PAGESIZE=4096\n"
    b"SYMBOL(init_uts_ns)=ffffffffa33f9b60\n"
    b"SYMBOL(swapper_pg_dir)=ffffffffa3210000\n"
    b"NUMBER(phys_base)=16777216\n"
    b"NUMBER(pgtable_l5_enabled)=0\n"
    b"KERNELOFFSET=20800000\n"
    b"CRASHTIME=1795401639\n"
)

STATUS = {"none": 0, "zlib": 1, "lzo": 2, "snappy": 4, "zstd": 0x20}
INCOMPLETE = 8
DESCRIPTOR_BYTES = 24
# Pages of such memory are kept out of a dump of level 1 and above: all zero pages share one.
ZERO_PAGE_LEVEL = 1

# Three kinds of pages: one that compresses, one that does not, two of zeros.
PAGES = {
    3: b"kernel text " * 341 + b"end.",
    9: bytes((i * i * 7 + i // 13 * 101) & 0xFF for i in range(4096)),
    10: bytes(4096),
    700: bytes(4096),
    701: b"log buffer  " * 341 + b"end.",
}


def note(name: bytes, kind: int, content: bytes) -> bytes:
    """One ELF note."""
    head = struct.pack("<III", len(name) + 1, len(content), kind)
    return head + _padded(name + b"\0", 4) + _padded(content, 4)


def vmcore(vmcoreinfo: bytes | None = VMCOREINFO, *, before: Sequence[bytes] = ()) -> bytes:
    """An ELF64 core file like /proc/vmcore: the notes, then one page of memory.

    `before` are notes that come ahead of the usual ones, as device dumps do. The kernel merges all notes
    in one PT_NOTE segment and fills its last page up with zeros.
    """
    notes = b"".join(before) + note(b"CORE", 1, bytes(336)) * 2
    if vmcoreinfo is not None:
        notes += note(b"VMCOREINFO", 0, vmcoreinfo)
    notes = _padded(notes, 4096)
    data = 4096 + len(notes)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    headers = struct.pack("<IIQQQQQQ", 4, 0, 4096, 0, 0, len(notes), len(notes), 0)
    headers += struct.pack("<IIQQQQQQ", 1, 7, data, 1 << 63, 4096, 4096, 4096, 4096)
    return _padded(header + headers, 4096) + notes + b"memory!!" * 512


def kdump(
    pages: Mapping[int, bytes] = PAGES,
    *,
    compression: str = "zlib",
    level: int = 31,
    max_mapnr: int = 1000,
    vmcoreinfo: bytes = VMCOREINFO,
    block_bytes: int = 4096,
) -> bytes:
    """A complete kdump file with `pages` (content by page frame number).

    Only zlib really compresses; with another compression named, pages are stored as they are, which is
    valid for each.
    """
    notes = note(b"CORE", 1, bytes(336)) + note(b"VMCOREINFO", 0, vmcoreinfo) if vmcoreinfo else b""
    sub_header = _sub_header(notes, len(vmcoreinfo), level, max_mapnr, block_bytes)
    bitmaps = _bitmap(range(max_mapnr), max_mapnr, block_bytes) + _bitmap(pages, max_mapnr, block_bytes)
    header = _header(
        STATUS[compression], block_bytes, len(sub_header) // block_bytes, len(bitmaps) // block_bytes
    )
    front = _padded(header, block_bytes) + sub_header + bitmaps
    return front + _page_area(pages, len(front), compression, level, block_bytes)


def descriptors_offset(dump: bytes) -> int:
    """Where the page descriptors of a dump made by `kdump` start."""
    block_bytes, sub_header_blocks, bitmap_blocks = struct.unpack_from("<III", dump, 428)
    return int((1 + sub_header_blocks + bitmap_blocks) * block_bytes)


def _padded(data: bytes, multiple: int) -> bytes:
    return data + bytes(-len(data) % multiple)


def _header(status: int, block_bytes: int, sub_header_blocks: int, bitmap_blocks: int) -> bytes:
    """struct disk_dump_header of diskdump_mod.h, on a 64-bit machine."""
    names = (b"Linux", b"edge-7", b"6.12.49-linuxkit", b"#1 SMP", b"x86_64", b"(none)")
    utsname = b"".join(name.ljust(65, b"\0") for name in names)
    start = struct.pack("<8si390s6xqq", b"KDUMP   ", 6, utsname, 1795401640, 0)
    sizes = struct.pack("<IiiI", status, block_bytes, sub_header_blocks, bitmap_blocks)
    return start + sizes + struct.pack("<IIIIIi", 0, 0, 0, 0, 0, 2)


def _sub_header(notes: bytes, vmcoreinfo_bytes: int, level: int, max_mapnr: int, block_bytes: int) -> bytes:
    """struct kdump_sub_header and the ELF notes behind it, in whole blocks."""
    offset = block_bytes + 104
    content = offset + len(notes) - (vmcoreinfo_bytes + 3 & ~3)
    offsets = (content, vmcoreinfo_bytes, offset, len(notes)) if notes else (0, 0, 0, 0)
    packed = struct.pack("<Qii11Q", 0x1000000, level, 0, 0, 0, *offsets, 0, 0, 0, 0, max_mapnr)
    return _padded(packed + notes, block_bytes)


def _bitmap(frames: Sequence[int] | Mapping[int, bytes], max_mapnr: int, block_bytes: int) -> bytes:
    bits = bytearray(-(-max_mapnr // 8))
    for frame in frames:
        bits[frame // 8] |= 1 << frame % 8
    return _padded(bytes(bits), block_bytes)


def _page_area(
    pages: Mapping[int, bytes], offset: int, compression: str, level: int, block_bytes: int
) -> bytes:
    """All page descriptors, then all data; the page of zeros comes first if the level excludes them."""
    offset += len(pages) * DESCRIPTOR_BYTES
    zeros = bytes(block_bytes)
    data = bytearray(zeros if level & ZERO_PAGE_LEVEL else b"")
    descriptors = bytearray()
    for _, page in sorted(pages.items()):
        if level & ZERO_PAGE_LEVEL and page == zeros:
            descriptors += struct.pack("<QIIQ", offset, block_bytes, 0, 0)
            continue
        packed = zlib.compress(page, 1) if compression == "zlib" else page
        stored, flags = (packed, STATUS["zlib"]) if len(packed) < block_bytes else (page, 0)
        descriptors += struct.pack("<QIIQ", offset + len(data), len(stored), flags, 0)
        data += stored
    return bytes(descriptors + data)
