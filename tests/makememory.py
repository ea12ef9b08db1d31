"""The memory of a crashed machine for tests: page tables of x86-64, and an ELF core file of it.

Nothing of kdumpd is used here, so that a mistake in a reader cannot hide itself.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence

from tests import makedump

from kdumpd.testing.kdumpfile import make_note

PAGE = 4096
PRESENT, LARGE, NO_EXECUTE = 1, 1 << 7, 1 << 63
DIRECT_MAP = 0xFFFF888000000000
IMAGE = 0xFFFFFFFF81000000


class Tables:
    """Page tables that a test fills; each new table takes the next frame from ``first`` on.

    With an `encryption_mask` every entry has its bit set, as AMD's SME sets it.
    """

    def __init__(self, *, levels: int, first: int = 1000, encryption_mask: int = 0) -> None:
        self.levels = levels
        self.encryption_mask = encryption_mask
        self.top = first
        self.pages: dict[int, list[int]] = {first: [0] * 512}

    def map(self, address: int, frame: int, *, large: int = 1) -> None:
        """Map a page; of 2 MiB with `large` 2, of 1 GiB with 3."""
        table = self.top
        for level in range(self.levels, large, -1):
            index = address >> 12 + 9 * (level - 1) & 511
            if not self.pages[table][index]:
                below = max(self.pages) + 1
                self.pages[below] = [0] * 512
                self.pages[table][index] = below << 12 | PRESENT | 0x66 | self.encryption_mask
            table = (self.pages[table][index] & ((1 << 52) - 1) & ~self.encryption_mask) >> 12
        bits = PRESENT | NO_EXECUTE | self.encryption_mask | (LARGE if large > 1 else 0)
        self.pages[table][address >> 12 + 9 * (large - 1) & 511] = frame << 12 | bits

    def memory(self) -> dict[int, bytes]:
        """The tables as pages by frame."""
        return {frame: struct.pack("<512Q", *entries) for frame, entries in self.pages.items()}


def page(*words: int) -> bytes:
    """A page that begins with these words."""
    return struct.pack(f"<{len(words)}Q", *words).ljust(PAGE, b"\0")


def at(frame: int) -> int:
    """The address of a frame in the direct map."""
    return DIRECT_MAP + frame * PAGE


def core(
    memory: Mapping[int, bytes],
    *,
    image: range = range(0),
    vmcoreinfo: bytes = makedump.VMCOREINFO,
    stacks: Iterable[int] = (),
    machine: int = 62,
) -> bytes:
    """An ELF core file of frames 0 to the highest in `memory`; those not in there are zeros."""
    whole = b"".join(memory.get(frame, bytes(PAGE)) for frame in range(max(memory) + 1))
    notes = b"".join(make_note(b"CORE", 1, struct.pack("<264xQ64x", pointer)) for pointer in stacks)
    notes += make_note(b"VMCOREINFO", 0, vmcoreinfo)
    data = PAGE + -(-len(notes) // PAGE) * PAGE
    segments = [(4, PAGE, 0, 0, len(notes)), (1, data, DIRECT_MAP, 0, len(whole))]
    if image:
        start = data + image.start * PAGE
        segments.insert(1, (1, start, IMAGE, image.start * PAGE, len(image) * PAGE))
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    return (header + _headers(segments)).ljust(PAGE, b"\0") + notes.ljust(data - PAGE, b"\0") + whole


def _headers(segments: Sequence[tuple[int, int, int, int, int]]) -> bytes:
    return b"".join(
        struct.pack("<IIQQQQQQ", kind, 7, offset, virtual, physical, size, size, 0)
        for kind, offset, virtual, physical, size in segments
    )
