"""The crashed machine's memory, read from its vmcore page by page: by frame, or by kernel address."""

import os
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Self

from kdumpd.errors import FormatError
from kdumpd.vmcore.headers import Layout, Segment, open_vmcore, read_at, read_layout
from kdumpd.vmcore.pagetables import PageTables

_DEFAULT_PAGE_BYTES: Final = 4096
# A kernel stack of x86-64, which is aligned to its size (THREAD_SIZE).
_STACK_BYTES: Final = 16 << 10
# Where x86-64 maps what a CPU needs on its way into the kernel, its exception stacks too
# (CPU_ENTRY_AREA_BASE); crash does not start without the task state segments in there.
_CPU_ENTRY_AREA: Final = 0xFFFFFE0000000000
# struct pglist_data is 170 KiB long, the roots of mem_section 1 MiB. A node is one socket or a part of it.
_MAX_REGION_BYTES: Final = 4 << 20
_MAX_NODES: Final = 64
# No architecture reserves more address space for the kernel's image (KERNEL_IMAGE_SIZE).
_MAX_IMAGE_BYTES: Final = 1 << 30
_MAX_DIGITS: Final = 10
_MAX_MASK_DIGITS: Final = 20
_POINTER: Final = struct.Struct("<Q")
# Page tables are read again and again: the last 1 MiB of them is kept, and what addresses led to.
_CACHED_PAGES: Final = 256
_CACHED_ADDRESSES: Final = 4096
# The kernel has the upper half of the address space.
_KERNEL_HALF: Final = 1 << 63


# From the kernel's addresses to bytes in the vmcore
# --------------------------------------------------
#
# Everything in a crashed kernel points to everything else by virtual address. The vmcore is ordered by
# physical address. KASLR chooses anew at each boot, independently of each other, where the image lies in
# physical memory, where it is mapped, and where the direct map of all memory, vmalloc and vmemmap begin
# (arch/x86/boot/compressed/kaslr.c, arch/x86/mm/kaslr.c). So nothing is assumed, and two sources are asked.
#
# 1. The program headers. Each names a range of the file, the physical address of its first byte and the
#    virtual one: the direct map's for all memory, and one more for the image
#    (crash_prepare_elf64_headers() in kernel/crash_core.c; kexec-tools builds the same). They answer for
#    most pointers. Their virtual address counts only where it lies in the kernel's half of the address space:
#    some tools leave a zero there.
# 2. The page tables, for what is in neither: vmalloc (stacks, modules), vmemmap, the per-CPU and CPU entry
#    areas. VMCOREINFO has the address of the top table, SYMBOL(init_top_pgt), which lies in the image, so
#    that (1) finds it, and whether there are 4 or 5 levels, NUMBER(pgtable_l5_enabled)
#    (arch/x86/kernel/vmcore_info_64.c). See `pagetables`.
#
# A frame is a page of physical memory, by its number: physical address / page size. The dump, its bitmaps
# and makedumpfile count in frames, so `find` returns one.


class Memory:
    """Memory of a machine that crashed. Every method blocks.

    Args:
        fd: the vmcore; it belongs to this object.
        layout: its ranges of memory, and VMCOREINFO.

    Attributes:
        image: frames of the kernel's image; empty if they are not known.
        info: VMCOREINFO.
        page_bytes: size of a page.
    """

    def __init__(self, fd: int, layout: Layout) -> None:
        self._fd = fd
        self._layout = layout
        self.info = layout.info
        self.page_bytes = layout.info.page_bytes or _DEFAULT_PAGE_BYTES
        self.read = lru_cache(_CACHED_PAGES)(self._read)
        self.find = lru_cache(_CACHED_ADDRESSES)(self._find)
        self.image = self._image()
        self._tables = self._page_tables() if layout.x86_64 else None

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a vmcore.

        Raises:
            FormatError: it cannot be read, or is not a vmcore.
        """
        fd = open_vmcore(path)
        try:
            return cls(fd, read_layout(fd))
        except FormatError:
            os.close(fd)
            raise

    def close(self) -> None:
        """Close the vmcore."""
        os.close(self._fd)

    def landmarks(self) -> Iterator[int]:
        """Frames that readers need before all others: page tables, stacks, and what VMCOREINFO names."""
        if self._tables:
            yield from self._tables.frames()
        for pointer in self._layout.stacks:
            yield from self._region(pointer & ~(_STACK_BYTES - 1), _STACK_BYTES)
        if self._tables:
            yield from self._tables.small_pages(_CPU_ENTRY_AREA)
        yield from self._region(
            self._symbol("mem_section"), self._number("LENGTH(mem_section)") * _POINTER.size
        )
        for node in self._nodes():
            yield from self._region(node, self._number("SIZE(pglist_data)"))

    def _nodes(self) -> Iterator[int]:
        """Addresses of struct pglist_data, one for each NUMA node."""
        table = self._symbol("node_data")
        for number in range(min(self._number("LENGTH(node_data)"), _MAX_NODES)):
            if node := self.word(table + number * _POINTER.size):
                yield node

    def word(self, address: int) -> int:
        """The 64-bit word at a kernel's address; 0 where it cannot be read."""
        inside = address % self.page_bytes
        frame = self.find(address - inside)
        page = self.read(frame) if frame is not None and inside % _POINTER.size == 0 else None
        return int(_POINTER.unpack_from(page, inside)[0]) if page else 0

    def _region(self, start: int, size_bytes: int) -> Iterator[int]:
        """Frames of the bytes that start at a kernel address."""
        size_bytes = min(size_bytes, _MAX_REGION_BYTES)
        for address in range(start - start % self.page_bytes, start + size_bytes, self.page_bytes):
            if (frame := self.find(address)) is not None:
                yield frame

    def _read(self, frame: int) -> bytes | None:
        """The page of a frame; None if the machine has no such page or it cannot be read."""
        address = frame * self.page_bytes
        for segment in self._layout.memory:
            inside = address - segment.physical
            if 0 <= inside <= segment.size_bytes - self.page_bytes:
                return self._read_whole(segment.offset + inside)
        return None

    def _read_whole(self, offset: int) -> bytes | None:
        try:
            page = read_at(self._fd, offset, self.page_bytes)
        except FormatError:
            return None
        return page if len(page) == self.page_bytes else None

    def _find(self, address: int) -> int | None:
        """The frame of the page that starts at a kernel address; None if nothing is mapped there."""
        segment = self._segment(address)
        if segment is not None:
            return (segment.physical + address - segment.virtual) // self.page_bytes
        return self._tables.find(address) if self._tables else None

    def _segment(self, address: int) -> Segment | None:
        for segment in self._layout.memory:
            if _KERNEL_HALF <= segment.virtual <= address < segment.virtual + segment.size_bytes:
                return segment
        return None

    def _symbol(self, name: str) -> int:
        try:
            return int(self._layout.info.values[f"SYMBOL({name})"], 16)
        except (KeyError, ValueError):
            return 0

    def _number(self, name: str) -> int:
        text = self._layout.info.values.get(name, "")
        return int(text) if text.isdecimal() and len(text) < _MAX_DIGITS else 0

    def _image(self) -> range:
        segment = self._segment(self._symbol("_stext"))
        if segment is None:
            return range(0)
        start = segment.physical // self.page_bytes
        return range(start, start + min(segment.size_bytes, _MAX_IMAGE_BYTES) // self.page_bytes)

    def _page_tables(self) -> PageTables | None:
        top = self._segment(self._symbol("init_top_pgt"))
        if top is None:
            return None
        frame = (top.physical + self._symbol("init_top_pgt") - top.virtual) // self.page_bytes
        levels = 5 if self._layout.info.values.get("NUMBER(pgtable_l5_enabled)") == "1" else 4
        return PageTables(self.read, top=frame, levels=levels, encryption_mask=self._encryption_mask())

    def _encryption_mask(self) -> int:
        # With AMD's SME, one bit of a page table's entry says that memory is encrypted and is no part of its
        # address (arch/x86/kernel/vmcore_info_64.c: a signed decimal number).
        text = self._layout.info.values.get("NUMBER(sme_mask)", "")
        return int(text) if text.isdecimal() and len(text) < _MAX_MASK_DIGITS else 0
