"""The flattened stream: its bytes, and their way through a pipe into a file."""

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdumpd.dump.flattened import MAX_FILE_BYTES, FlattenedWriter, parse_header, parse_record
from kdumpd.errors import FormatError

HEADER = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
END = struct.pack(">qq", -1, -1)


def record(offset: int, data: bytes) -> bytes:
    return struct.pack(">qq", offset, len(data)) + data


@attrs.frozen
class Pipe:
    """A non-blocking pipe and the file that its stream is written to."""

    source: int
    sink: int
    target: int

    def feed(self, data: bytes) -> None:
        os.write(self.sink, data)

    def written(self) -> bytes:
        return os.pread(self.target, 1 << 20, 0)


def write_out(writer: FlattenedWriter) -> None:
    while not writer.ended:
        writer.step()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    source, sink = os.pipe()
    os.set_blocking(source, False)
    target = os.open(tmp_path / "dump", os.O_RDWR | os.O_CREAT)
    yield Pipe(source, sink, target)
    for fd in (source, sink, target):
        try:
            os.close(fd)
        except OSError:
            continue


def test_records_go_to_their_places(pipe: Pipe) -> None:
    pipe.feed(HEADER + record(6, b"world") + record(0, b"hello ") + record(0, b"H") + END)
    writer = FlattenedWriter(pipe.source, pipe.target)
    writer.step()
    assert writer.ended
    assert pipe.written() == b"Hello world"
    assert writer.written_bytes == 12
    assert writer.end_bytes == 11


def test_a_turn_never_waits_however_the_stream_is_cut(pipe: Pipe) -> None:
    stream = HEADER + record(3, b"defg") + record(0, b"abc") + END
    writer = FlattenedWriter(pipe.source, pipe.target)
    for at in range(0, len(stream), 7):
        assert not writer.ended
        pipe.feed(stream[at : at + 7])
        writer.step()
        writer.step()
    assert writer.ended
    assert pipe.written() == b"abcdefg"


def test_a_hole_stays_a_hole(pipe: Pipe) -> None:
    pipe.feed(HEADER + record(1 << 30, b"end") + END)
    writer = FlattenedWriter(pipe.source, pipe.target)
    writer.step()
    assert os.fstat(pipe.target).st_size == (1 << 30) + 3
    assert os.fstat(pipe.target).st_blocks < 100


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "without its end record"),
        (HEADER[:100], "without its end record"),
        (HEADER, "without its end record"),
        (HEADER + record(0, b"data"), "without its end record"),
        (HEADER + record(0, b"data")[:-1], "1 bytes short of a record"),
        (b"KDUMP   ".ljust(4096, b"\0"), "not a flattened stream"),
        (struct.pack(">16sqq", b"makedumpfile", 1, 2).ljust(4096, b"\0"), "unknown type 1, version 2"),
        (HEADER + struct.pack(">qq", -2, 4), "out of range"),
        (HEADER + struct.pack(">qq", 0, -4), "out of range"),
        (HEADER + struct.pack(">qq", 0, 0), "out of range"),
        (HEADER + struct.pack(">qq", 2**62, 2**62), "out of range"),
        (HEADER + struct.pack(">qq", MAX_FILE_BYTES, 1), "out of range"),
    ],
)
def test_a_damaged_stream_is_a_format_error(pipe: Pipe, stream: bytes, message: str) -> None:
    pipe.feed(stream)
    os.close(pipe.sink)
    with pytest.raises(FormatError, match=message):
        write_out(FlattenedWriter(pipe.source, pipe.target))
    assert os.fstat(pipe.target).st_size <= 4


def test_what_came_before_the_damage_is_placed(pipe: Pipe) -> None:
    pipe.feed(HEADER + record(0, b"kept") + struct.pack(">qq", -7, 4))
    writer = FlattenedWriter(pipe.source, pipe.target)
    with pytest.raises(FormatError):
        writer.step()
    assert pipe.written() == b"kept"


def test_the_limit_stops_before_the_record_that_would_pass_it(pipe: Pipe) -> None:
    pipe.feed(HEADER + record(0, b"four") + record(4, b"more") + END)
    writer = FlattenedWriter(pipe.source, pipe.target, limit_bytes=7)
    writer.step()
    assert writer.limit_reached
    assert not writer.ended
    assert pipe.written() == b"four"
    writer.step()
    assert pipe.written() == b"four"


def test_a_full_limit_is_no_limit_reached(pipe: Pipe) -> None:
    pipe.feed(HEADER + record(0, b"four") + END)
    writer = FlattenedWriter(pipe.source, pipe.target, limit_bytes=4)
    writer.step()
    assert writer.ended
    assert not writer.limit_reached


def test_a_stopped_writer_writes_nothing_more(pipe: Pipe) -> None:
    pipe.feed(HEADER + record(0, b"four") + END)
    writer = FlattenedWriter(pipe.source, pipe.target)
    writer.stopped = True
    writer.step()
    assert pipe.written() == b""


def test_an_unwritable_target_says_so(pipe: Pipe) -> None:
    with open("/dev/full", "wb") as full:
        pipe.feed(HEADER + record(0, b"four") + END)
        with pytest.raises(OSError, match=r"No space|Invalid"):
            FlattenedWriter(pipe.source, full.fileno()).step()


def test_more_than_a_pipe_holds(pipe: Pipe) -> None:
    data = os.urandom(3 << 20)
    stream = HEADER + record(0, data) + END
    sender = threading.Thread(target=_write_all, args=(pipe.sink, stream))
    sender.start()
    writer = FlattenedWriter(pipe.source, pipe.target)
    write_out(writer)
    sender.join()
    assert os.pread(pipe.target, 4 << 20, 0) == data


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@given(st.binary(max_size=64))
def test_any_bytes_are_a_header_or_a_format_error(data: bytes) -> None:
    for parse in (parse_header, parse_record):
        try:
            parse(data)
        except FormatError as error:
            assert "\n" not in str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.lists(st.tuples(st.integers(-10, 5000), st.binary(max_size=200)), max_size=8), st.binary(max_size=40)
)
def test_any_stream_is_placed_or_refused(
    tmp_path: Path, records: list[tuple[int, bytes]], rest: bytes
) -> None:
    source, sink = os.pipe()
    os.set_blocking(source, False)
    target = os.open(tmp_path / "dump", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(sink, HEADER + b"".join(record(offset, data) for offset, data in records) + rest)
        os.close(sink)
        writer = FlattenedWriter(source, target, limit_bytes=10**6)
        while not (writer.ended or writer.limit_reached):
            writer.step()
    except FormatError:
        pass
    finally:
        assert os.fstat(target).st_size <= 10**6
        os.close(source)
        os.close(target)
