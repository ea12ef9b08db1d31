"""The end of a log that comes through a pipe, however long it is."""

import io
import os
from collections import deque
from typing import Final

import trio

from kdumpd.dmesg.lines import tail
from kdumpd.host.process import CHUNK_BYTES

LOG_BYTES: Final = 16 << 20
"""What is kept of a log. EVE's buffer has 2 MiB; what is read out of a damaged one may have no end."""

_PIECE_BYTES: Final = 256 << 10


class LogTail:
    """The last 16 MiB of a log, in not much more memory than that.

    Attributes:
        size_bytes: how much has come, be it kept or not.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._pieces = deque([bytearray()])
        self._kept_bytes = 0

    async def read(self, source: int) -> None:
        """Read a pipe, which does not block, to its end."""
        await trio.lowlevel.wait_readable(source)
        while chunk := os.read(source, CHUNK_BYTES):
            self.add(chunk)
            await trio.lowlevel.wait_readable(source)

    def add(self, chunk: bytes) -> None:
        """Append, forgetting the oldest piece when the others are enough."""
        if len(self._pieces[-1]) >= _PIECE_BYTES:
            self._pieces.append(bytearray())
        self._pieces[-1] += chunk
        self.size_bytes += len(chunk)
        self._kept_bytes += len(chunk)
        while self._kept_bytes - len(self._pieces[0]) >= LOG_BYTES:
            self._kept_bytes -= len(self._pieces.popleft())

    def take(self) -> bytes:
        """Give away what is kept: at most 16 MiB, and from a line's start where something was left out."""
        if self.size_bytes > LOG_BYTES:
            oldest = self._pieces.popleft()
            excess = self._kept_bytes - LOG_BYTES
            self._pieces.appendleft(bytearray(tail(bytes(oldest), len(oldest) - max(excess, 1))))
        whole = io.BytesIO()
        while self._pieces:  # a piece at a time: it is never held twice
            whole.write(self._pieces.popleft())
        return whole.getvalue()
