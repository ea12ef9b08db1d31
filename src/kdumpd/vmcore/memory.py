"""The crashed machine's memory, page by page, out of its vmcore; and where the kernel's addresses lead to."""

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
# struct pglist_data has 170 KiB, the roots of mem_section 1 MiB; a node is a socket or less.
_MAX_REGION_BYTES: Final = 4 << 20
_MAX_NODES: Final = 64
# The kernel reserves no more addresses for its image on any architecture (KERNEL_IMAGE_SIZE).
_MAX_IMAGE_BYTES: Final = 1 << 30
_MAX_DIGITS: Final = 10
_POINTER: Final = struct.Struct("<Q")
# Page tables are looked at again and again: 1 MiB of them, and as many addresses.
_CACHED_PAGES: Final = 256
_CACHED_ADDRESSES: Final = 4096
# Both halves of the address space are as large; the kernel has the upper one.
_KERNEL_HALF: Final = 1 << 63


class Memory:
    """Memory of a machine that crashed. All of it blocks.

    Args:
        fd: the vmcore; it belongs to this object.
        layout: where it has what.

    Attributes:
        image: frames of the kernel's image; empty if nothing tells.
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
            FormatError: it cannot be read, or is none.
        """
        fd = open_vmcore(path)
        try:
            return cls(fd, read_layout(fd))
        except FormatError:
            os.close(fd)
            raise

    def close(self) -> None:
        """Let go of the vmcore."""
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
        """Addresses of the descriptions of memory, one for each NUMA node (struct pglist_data)."""
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
        """Frames of what lies at an address."""
        size_bytes = min(size_bytes, _MAX_REGION_BYTES)
        for address in range(start - start % self.page_bytes, start + size_bytes, self.page_bytes):
            if (frame := self.find(address)) is not None:
                yield frame

    def _read(self, frame: int) -> bytes | None:
        """The page of a frame; None where the machine has none or it cannot be read."""
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
        """The frame of the page at a kernel's address (of its first byte); None where there is none."""
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
        return PageTables(self.read, top=frame, levels=levels)
