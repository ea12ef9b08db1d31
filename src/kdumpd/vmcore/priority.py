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

# More frames, and more addresses, than that are not remembered: some 8 MiB each.
_MAX_FRAMES: Final = 1 << 16
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
    trail = _Trail(memory, kept)
    for frame in filter(kept, memory.landmarks()):
        yield trail.follow(frame)
    for frame in filter(kept, reversed(memory.image)):
        yield trail.follow(frame)
        yield from trail.step()
    while trail.waiting:
        yield from trail.step()


class _Trail:
    """Frames that were pointed to, and are followed in turn."""

    def __init__(self, memory: CrashedMemory, kept: Callable[[int], bool]) -> None:
        self.waiting: deque[int] = deque()
        self._memory = memory
        self._kept = kept
        self._words = struct.Struct(f"<{memory.page_bytes // 8}Q")
        self._frames: set[int] = set()
        self._pages: set[int] = set()

    def step(self) -> Iterator[int]:
        """The next one, followed; if there is any."""
        if self.waiting:
            yield self.follow(self.waiting.popleft())

    def follow(self, frame: int) -> int:
        """Let the frames wait that this one's page points to."""
        self._frames.add(frame)
        page = self._memory.read(frame)
        if page and len(self._pages) < _MAX_FRAMES and len(self._frames) < _MAX_FRAMES:
            size = self._memory.page_bytes
            pointers = {word // size for word in self._words.unpack(page) if word >= _LOWEST_POINTER}
            for number in sorted(pointers - self._pages):
                self._wait_for(number)
            self._pages |= pointers
        return frame

    def _wait_for(self, number: int) -> None:
        for address in range(number, number + _SPAN_PAGES):
            frame = self._memory.find(address * self._memory.page_bytes)
            if frame is not None and self._is_new(frame):
                self._frames.add(frame)
                self.waiting.append(frame)

    def _is_new(self, frame: int) -> bool:
        return frame not in self._frames and frame not in self._memory.image and self._kept(frame)
