"""What is saved of a dump that was cut: the pages that an analyst needs first, read from the vmcore.

makedumpfile writes pages by their address, and the kernel can be anywhere: whether readers can open a dump
that was cut is chance. So the pages that matter most (`vmcore.priority`) are added, as far as it
was to hold them (`backfill`) and in little time. Whatever fails here, the dump is none the worse for it.
"""

import contextlib
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Final, Self

import trio

from kdumpd.dump.backfill import Backfill
from kdumpd.errors import FormatError
from kdumpd.host.machine import Machine
from kdumpd.host.threads import Worker
from kdumpd.vmcore.memory import Memory
from kdumpd.vmcore.priority import first_needed

# A batch is read and compressed in so long, or has so much; one that takes longer than that hangs.
_BATCH_S: Final = 0.25
_BATCH_BYTES: Final = 256 << 10
_HANGS_S: Final = 2.0
_LEVEL: Final = 1


async def salvage(
    backfill: Backfill,
    vmcore: str,
    *,
    machine: Machine,
    disk: Worker,
    advance: Callable[[], None],
) -> None:
    """Fill the gaps of a dump that was cut, as far as it goes; the caller bounds the time.

    A read of memory that hangs is left behind, and can write nothing any more. A write that hangs keeps
    the `disk` worker busy, as any other.

    Args:
        backfill: those of the dump; closed when no thread needs them any more.
        vmcore: path of the crashed kernel's memory.
        machine: where threads run.
        disk: makes the calls that write to the dump.
        advance: called whenever something was done.
    """
    reader = Worker(machine.compute)
    try:
        with contextlib.suppress(FormatError, OSError, trio.TooSlowError):
            await disk.run(backfill.prepare)
            await _fill(backfill, vmcore, reader, disk, advance)
    finally:
        reader.afterwards(partial(disk.afterwards, backfill.close))


async def _fill(
    backfill: Backfill, vmcore: str, reader: Worker, disk: Worker, advance: Callable[[], None]
) -> None:
    with trio.fail_after(_HANGS_S):
        source = await reader.run(_Source.open, vmcore, backfill, undo=_Source.close)
    try:
        while not (source.ended or backfill.full):
            with trio.fail_after(_HANGS_S):
                pages = await reader.run(source.batch)
            await disk.run(backfill.fill, pages)
            advance()
    finally:
        reader.afterwards(source.close)


class _Source:
    """The pages that a dump lacks, as they are needed, in batches. All of it blocks."""

    def __init__(self, memory: Memory, backfill: Backfill) -> None:
        self.ended = False
        self._memory = memory
        self._backfill = backfill
        self._frames = first_needed(memory, backfill.expects)

    @classmethod
    def open(cls, vmcore: str, backfill: Backfill) -> Self:
        return cls(Memory.open(vmcore), backfill)

    def close(self) -> None:
        self._memory.close()

    def batch(self) -> dict[int, bytes]:
        """The next pages, compressed; none where the dump has all that were looked at."""
        pages: dict[int, bytes] = {}
        size_bytes, until = 0, time.monotonic() + _BATCH_S
        while size_bytes < _BATCH_BYTES and time.monotonic() < until:
            frame = next(self._frames, None)
            if frame is None:
                self.ended = True
                break
            if self._backfill.lacks(frame) and (page := self._memory.read(frame)):
                pages[frame] = _packed(page)
                size_bytes += len(pages[frame])
        return pages


def _packed(page: bytes) -> bytes:
    data = zlib.compress(page, _LEVEL)
    return data if len(data) < len(page) else page
