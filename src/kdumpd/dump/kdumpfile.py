"""The kdump-compressed format: read a file's headers, check a whole file, seal one that was cut.

The layout is that of makedumpfile's IMPLEMENTATION document and diskdump_mod.h, in blocks of one page:

    header | sub-header and ELF notes | 1st bitmap | 2nd bitmap | page descriptors | page data
"""

import os
import struct
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from kdumpd.errors import FormatError
from kdumpd.vmcore.headers import MAX_VMCOREINFO_BYTES, read_at, read_exactly

# Bitmaps and descriptors
# -----------------------
#
# The 1st bitmap has a bit for each page frame of the machine that is memory. The 2nd has one for each frame
# whose page is in the dump: memory, less what the level excludes. Bit n of byte m is frame 8 m + n.
#
# A page descriptor is an offset, a size and flags. There is one for each bit that is set in the 2nd bitmap,
# in the order of the bits, and nothing in it says which frame it stands for: that is found by counting the
# bits before the frame's own. So a descriptor that is lost or put in twice would shift all behind it, and
# readers would show wrong memory without a complaint. Pages of zeros share one block of data.
#
# makedumpfile writes the header, the notes, the sub-header and the bitmaps first; then in batches some
# descriptors and, right after them, the up to 64 KiB of data that they describe. Into a file that was cut:
#
#   - the descriptors that were not written are holes, which read as zeros; offset 0 means "no page";
#   - the last one written may be torn; one that is broken anywhere else is damage;
#   - those of the last batch may point past the end of the file, as their data never came.
#
# How many descriptors a cut file was to have decides where its data begins. That is the number of bits in the
# 2nd bitmap, but for one case: with too little memory for whole bitmaps makedumpfile works in cycles
# (IMPLEMENTATION, "cyclic mode") and writes the 2nd bitmap part by part, with pages in between. A file cut
# before the last part has room for more descriptors than it has bits (_expected_pages).
#
# The format has no checksum. What is checked here is that header, bitmaps and descriptors agree.

SIGNATURE: Final = b"KDUMP   "

# Bits of the header's status and of a page descriptor's flags.
COMPRESSIONS: Final = {0x01: "zlib", 0x02: "lzo", 0x04: "snappy", 0x20: "zstd"}
# Bit of the header's status alone.
INCOMPLETE: Final = 0x08

# Before version 6 a sub-header has no max_mapnr_64 (diskdump_mod.h); makedumpfile writes 6.
_OLDEST_VERSION: Final = 6
BLOCK_SIZES: Final = (4096, 8192, 16384, 32768, 65536)
_HIGHEST_LEVEL: Final = 31

# Both as 64-bit little-endian machines lay them out (amd64, arm64, riscv64).
# Signature, version, utsname, status, block size, blocks of the sub-header, blocks of the bitmaps.
HEADER: Final = struct.Struct("<8sI390s22xIIII24x")
_STATUS: Final = struct.Struct("<I")
_STATUS_OFFSET: Final = 424
_UTSNAME_FIELD_BYTES: Final = 65
# dump_level, split, offset and size of VMCOREINFO, max_mapnr_64.
SUB_HEADER: Final = struct.Struct("<8xII16xQQ48xQ")
# Offset and size of the page's data, flags.
DESCRIPTOR: Final = struct.Struct("<QII8x")
Descriptor = tuple[int, int, int]

# Bitmaps and descriptors are read in chunks of this size: memory stays bounded however large the dump.
_CHUNK_BYTES: Final = DESCRIPTOR.size * 4096


@frozen(kw_only=True)
class Header:
    """Main header and sub-header of a kdump file.

    Attributes:
        version: of the format.
        nodename: name of the crashed machine (``uname -n``).
        release: release of the crashed kernel (``uname -r``).
        machine: its architecture (``uname -m``).
        status: bits; see `compression` and `incomplete`.
        block_bytes: size of a block, which is a page of memory.
        sub_header_blocks: blocks of the sub-header with the ELF notes.
        bitmap_blocks: blocks of the two bitmaps together.
        max_mapnr: page frames that each bitmap covers.
        dump_level: classes of pages that makedumpfile was told to exclude (its ``-d``).
        vmcoreinfo: the VMCOREINFO note; empty if there is none.
    """

    version: int
    nodename: str
    release: str
    machine: str
    status: int
    block_bytes: int
    sub_header_blocks: int
    bitmap_blocks: int
    max_mapnr: int
    dump_level: int
    vmcoreinfo: bytes

    @property
    def compression(self) -> str:
        """What pages are compressed with: zlib, lzo, snappy, zstd or none."""
        return next((name for bit, name in COMPRESSIONS.items() if self.status & bit), "none")

    @property
    def incomplete(self) -> bool:
        """True if the header says that pages are missing."""
        return bool(self.status & INCOMPLETE)

    @property
    def bitmap_bytes(self) -> int:
        """Size of one of the two bitmaps."""
        return self.bitmap_blocks // 2 * self.block_bytes

    @property
    def bitmap_offset(self) -> int:
        """Where in the file the 1st bitmap starts; the 2nd follows it."""
        return (1 + self.sub_header_blocks) * self.block_bytes

    @property
    def descriptors_offset(self) -> int:
        """Where in the file the page descriptors start."""
        return self.bitmap_offset + 2 * self.bitmap_bytes


@frozen(kw_only=True)
class Check:
    """What the check of a kdump file found.

    Attributes:
        header: its headers.
        pages: page descriptors that are filled and whose data is in the file.
        expected_pages: pages that the whole dump has.
        size_bytes: size of the file.
    """

    header: Header
    pages: int
    expected_pages: int
    size_bytes: int

    @property
    def complete(self) -> bool:
        """True if no page is missing and the file does not say otherwise."""
        return self.pages == self.expected_pages and not self.header.incomplete


def read_header(fd: int) -> Header:
    """Read the headers of the kdump file open as `fd`; its file position is not used.

    Raises:
        FormatError: it is not a kdump file, is unreadable, or was cut before its sub-header.
    """
    fields = HEADER.unpack(read_exactly(fd, 0, HEADER.size))
    signature, version, utsname, status, block_bytes, sub_header_blocks, bitmap_blocks = fields
    if signature != SIGNATURE:
        raise FormatError("not a kdump file: no KDUMP signature")
    if version < _OLDEST_VERSION or block_bytes not in BLOCK_SIZES:
        raise FormatError(f"kdump header of version {version} with blocks of {block_bytes} bytes")
    sub_header = read_exactly(fd, block_bytes, SUB_HEADER.size)
    dump_level, split, offset, size_bytes, max_mapnr = SUB_HEADER.unpack(sub_header)
    header = Header(
        version=version,
        nodename=_utsname(utsname, 1),
        release=_utsname(utsname, 2),
        machine=_utsname(utsname, 4),
        status=status,
        block_bytes=block_bytes,
        sub_header_blocks=sub_header_blocks,
        bitmap_blocks=bitmap_blocks,
        max_mapnr=max_mapnr,
        dump_level=dump_level,
        vmcoreinfo=_vmcoreinfo(fd, offset, size_bytes),
    )
    _require_sane(header, split)
    return header


def check(fd: int) -> Check:
    """Check the structure of the kdump file open as `fd`: headers, bitmaps, every page descriptor.

    Page data is not decompressed. It takes some 0.5 s for a million pages, and no more memory for many than
    for few. A dump that was merely cut has fewer pages than expected.

    Raises:
        FormatError: the structure is broken, or was cut so early that no reader opens the file.
    """
    header = read_header(fd)
    size_bytes = _size(fd)
    if size_bytes < header.descriptors_offset:
        raise FormatError("the dump was cut before its page descriptors")
    dumpable = _count_dumpable(fd, header)
    expected = _expected_pages(fd, header, dumpable)
    pages = _count_sound(fd, header, expected, size_bytes)
    if pages > dumpable:
        raise FormatError(f"{pages} pages are described, but the bitmap has only {dumpable}")
    return Check(header=header, pages=pages, expected_pages=expected, size_bytes=size_bytes)


def seal(fd: int) -> None:
    """Set the incomplete bit in the header, so that readers know that the dump was cut.

    The bit is DUMP_DH_COMPRESSED_INCOMPLETE: with it crash warns when it opens the dump, and names the
    option that reads missing pages as zeros. The change is not synced.

    Raises:
        FormatError: the headers are not there, or cannot be written.
    """
    status = read_header(fd).status | INCOMPLETE
    try:
        os.pwrite(fd, _STATUS.pack(status), _STATUS_OFFSET)
    except OSError as error:
        raise FormatError(f"cannot mark the dump incomplete: {error.strerror}") from error


def _utsname(fields: bytes, index: int) -> str:
    field = fields[index * _UTSNAME_FIELD_BYTES :][:_UTSNAME_FIELD_BYTES]
    return field.partition(b"\0")[0].decode("ascii", "backslashreplace")


def _vmcoreinfo(fd: int, offset: int, size_bytes: int) -> bytes:
    if size_bytes > MAX_VMCOREINFO_BYTES:
        raise FormatError(f"VMCOREINFO of {size_bytes} bytes is too long")
    return read_exactly(fd, offset, size_bytes)


def _require_sane(header: Header, split: int) -> None:
    """Refuse headers that contradict themselves, and the parts of a split dump."""
    if header.max_mapnr == 0:
        raise FormatError("the dump was cut before its sub-header")
    if header.dump_level > _HIGHEST_LEVEL or split:
        raise FormatError(f"sub-header with dump level {header.dump_level}, split {split}")
    if header.sub_header_blocks == 0 or header.bitmap_blocks % 2:
        raise FormatError(f"{header.sub_header_blocks} sub-header and {header.bitmap_blocks} bitmap blocks")
    if header.bitmap_bytes * 8 < header.max_mapnr:
        raise FormatError(f"bitmaps of {header.bitmap_bytes} bytes for {header.max_mapnr} page frames")


def _size(fd: int) -> int:
    try:
        return os.fstat(fd).st_size
    except OSError as error:
        raise FormatError(f"cannot tell the size of the dump: {error.strerror}") from error


def _count_dumpable(fd: int, header: Header) -> int:
    """Count the bits of the 2nd bitmap; each must be one of the 1st too."""
    dumpable = 0
    for start in range(0, header.bitmap_bytes, _CHUNK_BYTES):
        size_bytes = min(_CHUNK_BYTES, header.bitmap_bytes - start)
        first = _bits(fd, header.bitmap_offset + start, size_bytes)
        second = _bits(fd, header.bitmap_offset + header.bitmap_bytes + start, size_bytes)
        if second & ~first or (second and start * 8 + second.bit_length() > header.max_mapnr):
            raise FormatError("the dump has pages where the machine has no memory")
        dumpable += second.bit_count()
    if dumpable == 0:
        raise FormatError("the dump has no pages")
    return dumpable


def _bits(fd: int, offset: int, size_bytes: int) -> int:
    return int.from_bytes(read_exactly(fd, offset, size_bytes), "little")


def _expected_pages(fd: int, header: Header, dumpable: int) -> int:
    """Count the descriptors that there is room for before the first data: see above."""
    first_offset = next((offset for offset, _, _ in descriptors(fd, header, dumpable) if offset), None)
    if first_offset is None:
        return dumpable
    # A block of zeros comes before all other data if the level excludes zero pages; as no size of
    # block is a multiple of a descriptor's size, only one of the two can fit.
    for data_offset in (first_offset, first_offset - header.block_bytes):
        room, rest = divmod(data_offset - header.descriptors_offset, DESCRIPTOR.size)
        if rest == 0 and dumpable <= room <= header.max_mapnr:
            return room
    raise FormatError(f"data at {first_offset} does not fit {dumpable} page descriptors before it")


def _count_sound(fd: int, header: Header, expected: int, size_bytes: int) -> int:
    """Count the descriptors whose data is in the file."""
    data_offset = header.descriptors_offset + expected * DESCRIPTOR.size
    pages, torn = 0, False
    for descriptor in descriptors(fd, header, expected):
        if not any(descriptor):
            continue
        if torn:
            raise FormatError(f"broken page descriptor before that of the data at {descriptor[0]}")
        torn = not _fits(descriptor, header, data_offset)
        pages += not torn and sum(descriptor[:2]) <= size_bytes
    return pages


def is_sound(descriptor: Descriptor, header: Header, data_offset: int, size_bytes: int) -> bool:
    """Whether a page descriptor is whole, and its data within a file of so many bytes."""
    return _fits(descriptor, header, data_offset) and sum(descriptor[:2]) <= size_bytes


def _fits(descriptor: Descriptor, header: Header, data_offset: int) -> bool:
    offset, length, flags = descriptor
    fits = flags in COMPRESSIONS if flags else length == header.block_bytes
    return fits and 0 < length <= header.block_bytes and offset >= data_offset


def descriptors(fd: int, header: Header, count: int) -> Iterator[Descriptor]:
    """Offset, size and flags of the first `count` page descriptors, as far as the file goes.

    A page that is missing has zeros for all three.

    Raises:
        FormatError: the file cannot be read.
    """
    end = header.descriptors_offset + count * DESCRIPTOR.size
    for offset in range(header.descriptors_offset, end, _CHUNK_BYTES):
        data = read_at(fd, offset, min(_CHUNK_BYTES, end - offset))
        yield from DESCRIPTOR.iter_unpack(data[: len(data) // DESCRIPTOR.size * DESCRIPTOR.size])
        if len(data) < _CHUNK_BYTES:
            return
