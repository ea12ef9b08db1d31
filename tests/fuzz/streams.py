"""Targets: the flattened stream."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fuzz.cursor import Cursor
from tests.fuzz.memory import fill
from tests.fuzz.target import Target, refusal

from kdumpd.dump import flattened
from kdumpd.errors import FormatError

_HEADER = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(flattened.HEADER_BYTES, b"\0")
_END = struct.pack(">qq", -1, -1)


def _record(offset: int, data: bytes) -> bytes:
    return struct.pack(">qq", offset, len(data)) + data


def _heads(case: bytes) -> None:
    with refusal(FormatError):
        flattened.parse_header(case)
    with refusal(FormatError):
        record = flattened.parse_record(case[:16])
        assert record.is_end or 0 <= record.offset < record.offset + record.size_bytes <= 1 << 44


def _writer(case: bytes) -> None:
    """Write a stream that comes in two pieces; the case chooses the limit and whether the header is true."""
    cursor = Cursor(case)
    choice, limit, cut = cursor.number(), cursor.number(2), cursor.number(2)
    stream = (_HEADER if choice & 1 else b"") + cursor.rest()
    limit_bytes = limit if choice & 2 else None
    file = fill("written", b"")
    with _pipe() as (source, sink), refusal(FormatError):
        writer = flattened.FlattenedWriter(source, file, limit_bytes=limit_bytes)
        os.write(sink, stream[:cut])
        _step(writer, file, limit_bytes)
        if stream[cut:]:
            os.write(sink, stream[cut:])
            _step(writer, file, limit_bytes)
        expected = _expected(stream, limit_bytes)
        assert writer.written_bytes == sum(len(data) for _, data in expected)
        assert _holds(file, expected)


def _step(writer: flattened.FlattenedWriter, file: int, limit_bytes: int | None) -> None:
    try:
        writer.step()
    finally:
        size_bytes = os.fstat(file).st_size
        assert size_bytes == writer.end_bytes <= flattened.MAX_FILE_BYTES
        assert limit_bytes is None or size_bytes <= limit_bytes


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    source, sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield source, sink
    finally:
        os.close(source)
        os.close(sink)


def _expected(stream: bytes, limit_bytes: int | None) -> list[tuple[int, bytes]]:
    """What of a stream without faults must be in the file; read with no code of kdumpd."""
    start, writes = flattened.HEADER_BYTES, []
    while start + 16 <= len(stream):
        offset, size_bytes = struct.unpack_from(">qq", stream, start)
        if offset == -1 or (limit_bytes is not None and offset + size_bytes > limit_bytes):
            break
        start += 16
        writes.append((offset, stream[start : start + size_bytes]))
        start += size_bytes
    return writes


def _holds(file: int, writes: list[tuple[int, bytes]]) -> bool:
    """Whether the file holds each write, where no later one lies over it."""
    for number, (offset, data) in enumerate(writes):
        wanted = bytearray(data)
        found = bytearray(os.pread(file, len(data), offset))
        for later, content in writes[number + 1 :]:
            start, end = max(later - offset, 0), min(later + len(content) - offset, len(data))
            if start < end:
                wanted[start:end] = found[start:end] = bytes(end - start)
        if wanted != found:
            return False
    return True


def _streams() -> list[bytes]:
    pages = [_record(4096 * number, bytes([number]) * 200) for number in range(4)]
    overlapping = _record(100, b"a" * 300) + _record(50, b"b" * 100) + _END
    return [b"".join(pages) + _END, overlapping, _record(1 << 43, b"far") + _END, _record(-2, b"x"), pages[0]]


def _writer_seeds() -> list[bytes]:
    choices = (b"\1\0\0\xff\xff", b"\3\0\2\x30\x10", b"\0\0\0\0\0")
    return [choice + stream for choice in choices for stream in _streams()] + [
        b"\0\0\0\xff\0" + _HEADER + _END
    ]


_WORDS = (_END, b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\1", b"\0\0\x10" + b"\0" * 5, b"\x7f" + b"\xff" * 7)

HEADS = Target(run=_heads, seeds=lambda: [_HEADER[:40], *_streams()], words=_WORDS, max_bytes=64)
WRITER = Target(run=_writer, seeds=_writer_seeds, words=_WORDS, max_bytes=8192)
