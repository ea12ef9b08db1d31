"""The memory map of a crashed kernel: one struct page for each page of memory, read in blocks.

Where they lie and what they have where, VMCOREINFO tells (kernel: kernel/vmcore_info.c, mm/sparse.c); debug
information is not needed. What a word means differs from kernel to kernel, so each user of the map says which
kernels it was tried on.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, Protocol, Self

from attrs import frozen

from kdumpd.errors import FormatError
from kdumpd.vmcore.headers import Vmcoreinfo

# The highest order of a block of free pages that is on a list of its own kind: 2 MiB, a huge page of x86-64.
# Memory is added to the map in pieces of as much (SUBSECTION_SIZE), so the map has all of a block or nothing.
BLOCK_FRAMES: Final = 512
BITS_BYTES: Final = BLOCK_FRAMES // 8

_PAGE_BYTES: Final = 4096
_STRUCT_BYTES: Final = 64
_WORD_BYTES: Final = 8
WORDS: Final = _STRUCT_BYTES // _WORD_BYTES
_HALF_BYTES: Final = 4
_HALVES: Final = _STRUCT_BYTES // _HALF_BYTES
# SECTION_HAS_MEM_MAP; all flags of a section are below the lowest bit of the map's address (mm/sparse.c).
_HAS_MAP: Final = 1 << 1
_FLAGS_MASK: Final = (1 << 12) - 1
# With page tables of 5 levels the kernel's addresses begin here.
LOWEST_ADDRESS: Final = 0xFF << 56
_MAX_SECTION_BITS: Final = 40
_CACHED_SECTIONS: Final = 64


class KernelMemory(Protocol):
    """What is asked of the crashed memory; ``memory.Memory`` has it."""

    @property
    def info(self) -> Vmcoreinfo:
        """VMCOREINFO."""

    @property
    def page_bytes(self) -> int:
        """Size of a page."""

    def read(self, frame: int, /) -> bytes | None:
        """A page; None where it cannot be read."""

    def find(self, address: int, /) -> int | None:
        """The frame of the page at this address; None where there is none."""

    def word(self, address: int, /) -> int:
        """The 64-bit word at an address; 0 where it cannot be read."""


@frozen(kw_only=True)
class Fields:
    """Where a struct page has what: numbers of 64-bit words, and of 32-bit halves where it says so.

    Attributes:
        flags: the PG_ bits.
        lru: the link to the next page of a list; the link to the one before follows it.
        head: of a page that is not the first of a compound page: bit 0, and where the first one is.
        mapping: what the page belongs to.
        private: of a free page the order of its block.
        mapcount: half with how often it is mapped, or what type it is.
        refcount: half with how often it is used.
        head_is_mask: ``head`` is a mask to find the first page with (from 7.1), else its address.
    """

    flags: int
    lru: int
    head: int
    mapping: int
    private: int
    mapcount: int
    refcount: int
    head_is_mask: bool

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """Read them from VMCOREINFO.

        Raises:
            FormatError: it does not tell, or struct pages are of another size.
        """
        if (size := number(values, "SIZE(page)")) != _STRUCT_BYTES:
            raise FormatError(f"struct pages of {size} bytes are not known")
        is_mask = "OFFSET(page.compound_head)" not in values
        return cls(
            flags=_place(values, "flags"),
            lru=_place(values, "lru"),
            head=_place(values, "compound_info" if is_mask else "compound_head"),
            mapping=_place(values, "mapping"),
            private=_place(values, "private"),
            mapcount=_place(values, "_mapcount", _HALF_BYTES),
            refcount=_place(values, "_refcount", _HALF_BYTES),
            head_is_mask=is_mask,
        )


class Block:
    """The struct pages of 512 frames.

    Attributes:
        frame: the first frame, a multiple of 512.
        address: the kernel's address of its struct page.
        words: all of them, eight 64-bit words for each.
    """

    def __init__(self, frame: int, address: int, data: bytes) -> None:
        self.frame = frame
        self.address = address
        self.words = array("Q", data)
        self._halves = array("I", data)

    def column(self, word: int) -> "array[int]":
        """One word of every struct page."""
        return self.words[word::WORDS]

    def halves(self, half: int) -> "array[int]":
        """One 32-bit half of every struct page."""
        return self._halves[half::_HALVES]


class MemoryMap:
    """The struct pages of a crashed kernel. All of it blocks.

    Args:
        memory: the crashed memory.

    Attributes:
        fields: where a struct page has what.
        release: major and minor number of the kernel.
        values: VMCOREINFO's.

    Raises:
        FormatError: VMCOREINFO does not tell where the map is, or tells of a layout that is not known.
    """

    def __init__(self, memory: KernelMemory) -> None:
        self.values = memory.info.values
        self.fields = Fields.of(self.values)
        self.release = release(memory.info)
        self._memory = memory
        if memory.page_bytes != _PAGE_BYTES:
            raise FormatError(f"pages of {memory.page_bytes} bytes are not known")
        self._roots = _address(self.values, "SYMBOL(mem_section)")
        self._section_bytes = number(self.values, "SIZE(mem_section)")
        self._section_map = number(self.values, "OFFSET(mem_section.section_mem_map)")
        bits = number(self.values, "NUMBER(SECTION_SIZE_BITS)")
        if not 0 < self._section_bytes <= _PAGE_BYTES or not 21 <= bits <= _MAX_SECTION_BITS:
            raise FormatError(f"sections of {bits} bits, {self._section_bytes} bytes each, are not known")
        self._section_frames = (1 << bits) // _PAGE_BYTES
        self._base = lru_cache(_CACHED_SECTIONS)(self._find_base)

    def blocks(self, first_frame: int, bits: bytes) -> Iterator[tuple[int, int, Block | None]]:
        """The blocks in which a bitmap has frames: first frame, wanted frames as bits, struct pages.

        Args:
            first_frame: the frame of the bitmap's first bit, a multiple of 512.
            bits: the bitmap.

        Yields:
            None for the struct pages where the map has none, or they cannot be read.
        """
        for place in range(0, len(bits), BITS_BYTES):
            if wanted := int.from_bytes(bits[place : place + BITS_BYTES], "little"):
                frame = first_frame + place * 8
                yield frame, wanted, self._block(frame)

    def word(self, block: Block, address: int) -> int:
        """A word of the kernel's memory, which is often one of the same block; 0 where it cannot be read."""
        inside = address - block.address
        if 0 <= inside < BLOCK_FRAMES * _STRUCT_BYTES and inside % _WORD_BYTES == 0:
            return block.words[inside // _WORD_BYTES]
        return self._memory.word(address) if address >= LOWEST_ADDRESS else 0

    def _block(self, frame: int) -> Block | None:
        base = self._base(frame // self._section_frames)
        address = base + frame * _STRUCT_BYTES
        if not base or address % _PAGE_BYTES:
            return None
        pages = []
        for place in range(address, address + BLOCK_FRAMES * _STRUCT_BYTES, _PAGE_BYTES):
            found = self._memory.find(place)
            page = self._memory.read(found) if found is not None else None
            if page is None:
                return None
            pages.append(page)
        return Block(frame, address, b"".join(pages))

    def _find_base(self, section: int) -> int:
        """Where frame 0 would have its struct page, if the map went on from that section's; 0 without one."""
        root, index = divmod(section, _PAGE_BYTES // self._section_bytes)
        table = self._memory.word(self._roots + root * _WORD_BYTES)
        if table < LOWEST_ADDRESS:
            return 0
        found = self._memory.word(table + index * self._section_bytes + self._section_map)
        return found & ~_FLAGS_MASK if found & _HAS_MAP else 0


def release(info: Vmcoreinfo) -> tuple[int, int]:
    """Major and minor number of the crashed kernel.

    Raises:
        FormatError: its release has none.
    """
    found = re.match(r"(\d{1,4})\.(\d{1,4})\b", info.release or "")
    if found is None:
        raise FormatError(f"kernel release {info.release!r} has no version number")
    return int(found[1]), int(found[2])


def number(values: Mapping[str, str], key: str) -> int:
    """A number that VMCOREINFO must tell; decimal, negative ones too.

    Raises:
        FormatError: it does not tell it.
    """
    if not re.fullmatch(r"-?\d{1,19}", values.get(key, "")):
        raise FormatError(f"VMCOREINFO does not tell {key}")
    return int(values[key])


def _address(values: Mapping[str, str], key: str) -> int:
    if not re.fullmatch(r"[0-9a-f]{16}", values.get(key, "")):
        raise FormatError(f"VMCOREINFO does not tell {key}")
    return int(values[key], 16)


def _place(values: Mapping[str, str], member: str, unit_bytes: int = _WORD_BYTES) -> int:
    offset = number(values, f"OFFSET(page.{member})")
    if offset % unit_bytes or not 0 <= offset < _STRUCT_BYTES:
        raise FormatError(f"struct page has {member} at {offset}")
    return offset // unit_bytes
