"""The flattened stream of ``makedumpfile -F``: records written to their offsets in a file.

The stream is a 4096-byte header, then records of an offset and a size (big-endian 64-bit each) with
that many bytes of data; offset -1 ends it. Each record written to its offset gives the very file that
makedumpfile would have written (makedumpfile's IMPLEMENTATION document, "The flattened format").
"""

import contextlib
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Final

from attrs import frozen

from kdumpd.errors import FormatError
from kdumpd.host.folder import splice_bytes

HEADER_BYTES: Final = 4096
SIGNATURE: Final = b"makedumpfile".ljust(16, b"\0")
END_OFFSET: Final = -1

_HEADER = struct.Struct(">16sqq")
_RECORD = struct.Struct(">qq")

# A record beyond this is garbage; writing it would make a huge sparse file.
MAX_FILE_BYTES: Final = 1 << 44

# Upper bound of one step in a worker thread, so that a cancel or a budget takes effect soon.
_STEP_BYTES: Final = 8 << 20

# Write-back is started whenever this much has been written: dirty pages would fill the capture kernel's
# memory and make the last fsync slow (docs/benchmarks.md).
_BEHIND_BYTES: Final = 8 << 20


@frozen(kw_only=True)
class Record:
    """One record's header: where its data goes and how long it is."""

    offset: int
    size_bytes: int

    @property
    def is_end(self) -> bool:
        """True for the record that ends the stream."""
        return self.offset == END_OFFSET


def parse_header(data: bytes) -> None:
    """Check the stream's first bytes.

    Raises:
        FormatError: they are not a flattened header of the known type and version.
    """
    if len(data) < _HEADER.size:
        raise FormatError("the flattened stream ended inside its header")
    signature, kind, version = _HEADER.unpack_from(data)
    if signature != SIGNATURE:
        raise FormatError("what makedumpfile wrote is not a flattened stream")
    if (kind, version) != (1, 1):
        raise FormatError(f"flattened stream of unknown type {kind}, version {version}")


def parse_record(data: bytes) -> Record:
    """Read one record's 16-byte header.

    Raises:
        FormatError: too short, or an offset or size that no dump can have.
    """
    if len(data) != _RECORD.size:
        raise FormatError("the flattened stream ended inside a record's header")
    offset, size_bytes = _RECORD.unpack(data)
    if offset == END_OFFSET:
        return Record(offset=offset, size_bytes=0)
    if offset < 0 or size_bytes <= 0 or offset + size_bytes > MAX_FILE_BYTES:
        raise FormatError(f"flattened record out of range: offset {offset}, size {size_bytes}")
    return Record(offset=offset, size_bytes=size_bytes)


Splice = Callable[[int, int, int, int], int]


def write_behind(target: int) -> None:
    """Start write-back of a file's dirty pages, and drop its clean ones from the cache."""
    # Best effort: the fsync at the end comes anyway.
    with contextlib.suppress(OSError):
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)


class FlattenedWriter:
    """Moves a flattened stream from a pipe to a file, a step at a time.

    The source must be a non-blocking pipe. A step can wait for the disk, so it belongs in a worker
    thread. The counters may be read from any thread at any time.

    Attributes:
        written_bytes: data bytes written so far.
        end_bytes: the file's length so far.
        ended: the end record has come; the file is whole.
        stopped: set by the caller: a step that hangs on the disk then ends as soon as it wakes.
    """

    def __init__(
        self, source: int, target: int, *, limit_bytes: int | None = None, splice: Splice = splice_bytes
    ) -> None:
        self.written_bytes = 0
        self.end_bytes = 0
        self.ended = False
        self.stopped = False
        self._source = source
        self._target = target
        self._limit_bytes = limit_bytes
        self._splice = splice
        self._pending = b""
        self._wanted = HEADER_BYTES
        self._offset = 0
        self._left = 0
        self._behind_bytes = 0
        self._readable = select.poll()
        self._readable.register(source, select.POLLIN)

    @property
    def limit_reached(self) -> bool:
        """True when the next record would make the file longer than its limit."""
        return self._limit_bytes is not None and self._offset + self._left > self._limit_bytes

    def step(self, wait_s: float = 0) -> None:
        """Write what the source holds; return when it is empty, at the end, at the limit, or after 8 MiB.

        Args:
            wait_s: how long to wait for data where the source is empty. A step for every 64 KiB that
                makedumpfile writes would cost more in thread switches than in copying.

        Raises:
            FormatError: the stream is damaged, or ended without its end record.
            OSError: the file cannot be written.
        """
        stop_at, until = self.written_bytes + _STEP_BYTES, time.monotonic() + wait_s
        while not (self.ended or self.stopped or self.limit_reached) and self.written_bytes < stop_at:
            try:
                if self._left:
                    self._move()
                else:
                    self._read_head()
            except BlockingIOError:
                if not self._wait(until):
                    return

    def _wait(self, until: float) -> bool:
        left_s = until - time.monotonic()
        return left_s > 0 and bool(self._readable.poll(left_s * 1000))

    def _move(self) -> None:
        moved = self._splice(self._source, self._target, self._left, self._offset)
        if moved == 0:
            raise FormatError(f"the flattened stream ended early, {self._left} bytes short of a record")
        self._offset += moved
        self._left -= moved
        self.written_bytes += moved
        self.end_bytes = max(self.end_bytes, self._offset)
        self._behind_bytes += moved
        if self._behind_bytes >= _BEHIND_BYTES and self._target >= 0:
            self._behind_bytes = 0
            write_behind(self._target)

    def _read_head(self) -> None:
        data = os.read(self._source, self._wanted - len(self._pending))
        if not data:
            raise FormatError("the flattened stream ended without its end record")
        self._pending += data
        if len(self._pending) == self._wanted:
            head, self._pending = self._pending, b""
            self._take_head(head)

    def _take_head(self, head: bytes) -> None:
        if self._wanted == HEADER_BYTES:
            parse_header(head)
            self._wanted = _RECORD.size
            return
        record = parse_record(head)
        self.ended = record.is_end
        self._offset, self._left = record.offset, record.size_bytes
