"""Small valid kdump files and ELF vmcores for tests, built as the formats' documents lay them out.

Nothing of kdumpd's readers is used here, so that a mistake in a parser cannot hide itself.
"""

import struct
from collections.abc import Mapping, Sequence

from kdumpd.testing.kdumpfile import build_kdump, make_note, padded

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

INCOMPLETE = 8
DESCRIPTOR_BYTES = 24

# Three kinds of pages: one that compresses, one that does not, two of zeros.
PAGES = {
    3: b"kernel text " * 341 + b"end.",
    9: bytes((i * i * 7 + i // 13 * 101) & 0xFF for i in range(4096)),
    10: bytes(4096),
    700: bytes(4096),
    701: b"log buffer  " * 341 + b"end.",
}


def vmcore(vmcoreinfo: bytes | None = VMCOREINFO, *, before: Sequence[bytes] = ()) -> bytes:
    """An ELF64 core file like /proc/vmcore: the notes, then one page of memory.

    `before` are notes that come ahead of the usual ones, as device dumps do. The kernel merges all notes
    in one PT_NOTE segment and fills its last page up with zeros.
    """
    notes = b"".join(before) + make_note(b"CORE", 1, bytes(336)) * 2
    if vmcoreinfo is not None:
        notes += make_note(b"VMCOREINFO", 0, vmcoreinfo)
    notes = padded(notes, 4096)
    data = 4096 + len(notes)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    headers = struct.pack("<IIQQQQQQ", 4, 0, 4096, 0, 0, len(notes), len(notes), 0)
    headers += struct.pack("<IIQQQQQQ", 1, 7, data, 1 << 63, 4096, 4096, 4096, 4096)
    return padded(header + headers, 4096) + notes + b"memory!!" * 512


def kdump(
    pages: Mapping[int, bytes] = PAGES,
    *,
    compression: str = "zlib",
    level: int = 31,
    max_mapnr: int = 1000,
    vmcoreinfo: bytes = VMCOREINFO,
    block_bytes: int = 4096,
) -> bytes:
    """The dump of these pages (content by page frame number) as `makedumpfile -c -d LEVEL` would write it."""
    return build_kdump(
        pages,
        compression=compression,
        level=level,
        max_mapnr=max_mapnr,
        vmcoreinfo=vmcoreinfo,
        release="6.12.49-linuxkit",
        block_bytes=block_bytes,
    )


def descriptors_offset(dump: bytes) -> int:
    """The offset of the page descriptors in a dump made by `kdump`."""
    block_bytes, sub_header_blocks, bitmap_blocks = struct.unpack_from("<III", dump, 428)
    return int((1 + sub_header_blocks + bitmap_blocks) * block_bytes)
