"""The flattened stream alone: from the pipe of a makedumpfile that somebody else runs to a file of theirs."""

import os
from collections.abc import Callable
from typing import Final, Protocol

import trio

from kdumpd.dump.flattened import FlattenedWriter, Splice
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine
from kdumpd.host.threads import Worker

# How long a cancel waits for the thread that writes to the target, before it leaves it behind.
_BACK_S: Final = 3.0
_CHUNK_BYTES: Final = 1 << 16


class Seekable(Protocol):
    """A binary file that can be written at any offset."""

    def seek(self, offset: int, /) -> object:
        """Go to an offset."""

    def write(self, data: bytes, /) -> object:
        """Write all of it there."""


async def place_stream(
    source: int,
    target: int | Seekable,
    *,
    progress: Callable[[int], object] = lambda _written_bytes: None,
    machine: Machine | None = None,
) -> int:
    """Write a flattened stream (``makedumpfile -F``) to a file, which then is what makedumpfile would write.

    The caller owns both ends, and the time: put it in a cancel scope. Cancelled, it waits up to 3 s for its
    thread; on a disk that hangs longer that thread still has the target in hand.

    Args:
        source: the read end of a pipe; it is set to non-blocking.
        target: where the dump goes: a descriptor, to which bytes are spliced, or a binary file to seek in.
        progress: called with the bytes written so far, after each step of at most 8 MiB.
        machine: where the thread runs; a simulated one in tests.

    Returns:
        The bytes that were written.

    Raises:
        FormatError: the stream is damaged, or ended without its end record.
        OSError: the target cannot be written.
    """
    os.set_blocking(source, False)
    worker = Worker((machine or LinuxMachine()).on_disk)
    if isinstance(target, int):
        writer = FlattenedWriter(source, target)
    else:
        writer = FlattenedWriter(source, -1, splice=_copy_to(target))
    try:
        while not writer.ended:
            await trio.lowlevel.wait_readable(source)
            await worker.run(writer.step)
            progress(writer.written_bytes)
    finally:
        writer.stopped = True
        with trio.move_on_after(_BACK_S, shield=True):
            await worker.idle()
    return writer.written_bytes


def _copy_to(target: Seekable) -> Splice:
    """The splice of a file that has no descriptor."""

    def copy(source: int, _target: int, size_bytes: int, offset: int) -> int:
        data = os.read(source, min(size_bytes, _CHUNK_BYTES))
        target.seek(offset)
        target.write(data)
        return len(data)

    return copy
