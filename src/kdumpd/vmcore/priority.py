"""Which pages of a crashed kernel an analyst needs first. Pure: memory is read through what is passed in.

Readers cannot open a dump without the kernel's page tables and data, and show little without the stacks. What
else matters is what these point to. So pointers are followed breadth first, as a conservative garbage
collector does. That orders pages by their distance from the crash, however large the machine is and wherever
KASLR and the allocators have put them.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

# How many page frames, and how many virtual pages, are remembered at most: some 8 MiB each.
_MAX_REMEMBERED: Final = 1 << 16
# Kernel addresses are the highest ones; with page tables of 5 levels they begin here.
_LOWEST_POINTER: Final = 0xFF << 56
# Pointers to large objects point to their start: a task takes three pages, a stack four.
_SPAN_PAGES: Final = 4


class CrashedMemory(Protocol):
    """The memory of a crashed machine, as far as it is needed here; ``memory.Memory`` is it."""

    @property
    def page_bytes(self) -> int:
        """Size of a page."""

    @property
    def image(self) -> range:
        """Frames of the kernel's image."""

    def landmarks(self) -> Iterator[int]:
        """Frames that are needed before all others."""

    def read(self, frame: int, /) -> bytes | None:
        """The page of a frame; None if it cannot be read."""

    def find(self, address: int, /) -> int | None:
        """The frame of the page at this address; None if nothing is mapped there."""


def first_needed(memory: CrashedMemory, kept: Callable[[int], bool]) -> Iterator[int]:
    """Yield frames in the order of need: landmarks, then the image, alternating with what was pointed to.

    The image goes from its end to its start: data comes last in it, before that the constants, and first the
    code, which debug symbols have as well.

    Args:
        memory: the crashed memory.
        kept: whether a frame may be in the dump; others are neither yielded nor followed.
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
        """Follow and yield the next one, if there is one."""
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
