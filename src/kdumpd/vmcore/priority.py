"""Which pages of a crashed kernel an analyst needs first. Pure: memory is read through what is passed in.

Readers open no dump without the kernel's page tables and its data, and say little without the stacks. What
else counts is what these lead to. So pointers are followed, breadth first, as a conservative garbage
collector does: that takes pages by how near they are to the crash, however large the machine is, and
wherever KASLR and the allocators have put them.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

# How many page frames, and how many virtual pages, are remembered at most: some 8 MiB each.
_MAX_REMEMBERED: Final = 1 << 16
# The kernel's addresses are the highest ones; with page tables of 5 levels they begin here.
_LOWEST_POINTER: Final = 0xFF << 56
# A pointer to a stack or a large structure is one to its start: a task takes three pages, its stack four.
_SPAN_PAGES: Final = 4


class CrashedMemory(Protocol):
    """What is asked of the memory of a machine that crashed; ``memory.Memory`` has it."""

    @property
    def page_bytes(self) -> int:
        """Size of a page."""

    @property
    def image(self) -> range:
        """Frames of the kernel's image."""

    def landmarks(self) -> Iterator[int]:
        """Frames that are needed before all others."""

    def read(self, frame: int, /) -> bytes | None:
        """A page; None where it cannot be read."""

    def find(self, address: int, /) -> int | None:
        """The frame of the page at this address; None where there is none."""


def first_needed(memory: CrashedMemory, kept: Callable[[int], bool]) -> Iterator[int]:
    """The frames to have first: landmarks; then by turns the image and what all of it points to.

    The image is taken from its end: there its data lies, before that the constants, and at its start the
    code, which debug symbols have too.

    Args:
        memory: the crashed memory.
        kept: says of a frame whether it may be in the dump; no other one is given or followed.
    """
    search = _Search(memory, kept)
    for frame in filter(kept, memory.landmarks()):
        yield search.follow(frame)
    for frame in filter(kept, reversed(memory.image)):
        yield search.follow(frame)
        yield from search.step()
    while search.queue:
        yield from search.step()


class _Search:
    """Breadth-first: frames that were pointed to wait in a queue until they are followed."""

    def __init__(self, memory: CrashedMemory, kept: Callable[[int], bool]) -> None:
        self.queue: deque[int] = deque()
        self._memory = memory
        self._kept = kept
        self._words = struct.Struct(f"<{memory.page_bytes // 8}Q")
        self._frames: set[int] = set()
        self._virtual_pages: set[int] = set()

    def step(self) -> Iterator[int]:
        """The next one, followed; if there is any."""
        if self.queue:
            yield self.follow(self.queue.popleft())

    def follow(self, frame: int) -> int:
        """Queue the frames that this one's page points to."""
        self._frames.add(frame)
        page = self._memory.read(frame)
        if page and len(self._virtual_pages) < _MAX_REMEMBERED and len(self._frames) < _MAX_REMEMBERED:
            found = {
                word // self._memory.page_bytes
                for word in self._words.unpack(page)
                if word >= _LOWEST_POINTER
            }
            for virtual_page in sorted(found - self._virtual_pages):
                self._queue(virtual_page)
            self._virtual_pages |= found
        return frame

    def _queue(self, first: int) -> None:
        """Queue the frames of what may lie at a pointer, by the number of its first virtual page."""
        for virtual_page in range(first, first + _SPAN_PAGES):
            frame = self._memory.find(virtual_page * self._memory.page_bytes)
            if frame is not None and self._is_new(frame):
                self._frames.add(frame)
                self.queue.append(frame)

    def _is_new(self, frame: int) -> bool:
        return frame not in self._frames and frame not in self._memory.image and self._kept(frame)
