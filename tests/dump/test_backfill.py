"""Pages put into a dump that was cut: the right ones, at the right offset, within the limit."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import makedump

from kdumpd.dump import kdumpfile
from kdumpd.dump.backfill import Backfill
from kdumpd.errors import FormatError
from kdumpd.testing.kdumpfile import DESCRIPTOR_BYTES, descriptors_offset

ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)

# 33000 is in the second chunk of the bitmap.
FRAMES: Final = [*range(10, 200, 2), *range(300, 330), 33000, 33001]
EXCLUDED: Final = 11
MAX_MAPNR: Final = 40000


@cache
def content(frame: int) -> bytes:
    """A page of its own for each frame: zeros, text, noise."""
    if frame % 7 == 0:
        return bytes(4096)
    if frame % 2:
        return struct.pack("<Q", frame) * 512
    return b"".join(struct.pack("<I", frame * n * 2654435761 & 0xFFFFFFFF) for n in range(1024))


def whole(level: int = 31) -> bytes:
    return makedump.kdump({frame: content(frame) for frame in FRAMES}, max_mapnr=MAX_MAPNR, level=level)


WHOLE: Final = whole()
START: Final = descriptors_offset(WHOLE)
DATA: Final = START + len(FRAMES) * DESCRIPTOR_BYTES


def cut(size_bytes: int, dump: bytes = WHOLE, at_once: int = 16) -> bytes:
    """What a stream that is cut leaves: descriptors are written by turns with the data of so many pages."""
    described = 0
    for index in range(0, len(FRAMES), at_once):
        offset, *_ = struct.unpack_from("<QII", dump, START + index * 24)
        if offset <= size_bytes:
            described = min(index + at_once, len(FRAMES))
    empty = START + described * 24
    return (dump[:empty] + bytes(DATA - empty) + dump[DATA:])[:size_bytes]


@contextmanager
def opened(folder: Path, data: bytes, limit_bytes: int | None = None) -> Iterator[Backfill]:
    path = folder / "dump"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)
    backfill = Backfill(fd, kdumpfile.check(fd), limit_bytes=limit_bytes)
    backfill.prepare()
    yield backfill
    backfill.close()


def pages_of(dump: bytes) -> dict[int, bytes]:
    """The pages in a dump as a reader sees them."""
    found = {}
    for index, frame in enumerate(FRAMES):
        offset, size_bytes, flags = struct.unpack_from("<QII", dump, START + index * 24)
        if offset and offset + size_bytes <= len(dump):
            data = dump[offset : offset + size_bytes]
            found[frame] = zlib.decompress(data) if flags else data
    return found


@cache
def packed_one(frame: int) -> bytes:
    data = zlib.compress(content(frame), 1)
    return data if len(data) < 4096 else content(frame)


def packed(*frames: int) -> dict[int, bytes]:
    return {frame: packed_one(frame) for frame in frames}


def assert_true(dump: bytes) -> None:
    """Each page that is there is that of its frame."""
    found = pages_of(dump)
    assert found == {frame: content(frame) for frame in found}


def file(folder: Path) -> bytes:
    return (folder / "dump").read_bytes()


def test_what_a_dump_was_to_hold_is_known(tmp_path: Path) -> None:
    with opened(tmp_path, cut(DATA + 100000)) as backfill:
        expected = [frame for frame in range(MAX_MAPNR) if backfill.expects(frame)]
        assert not backfill.expects(-1)
        assert not backfill.expects(1 << 60)
        assert [frame for frame in FRAMES if not backfill.lacks(frame)] == list(pages_of(file(tmp_path)))
    assert expected == FRAMES


@pytest.mark.parametrize("level", [31, 30])
def test_a_dump_whose_gaps_are_all_filled_is_whole(tmp_path: Path, level: int) -> None:
    dump = whole(level)
    with opened(tmp_path, cut(DATA + 100000, dump)) as backfill:
        lacking = [frame for frame in FRAMES if backfill.lacks(frame)]
        backfill.fill(packed(*reversed(lacking)))
        assert backfill.filled == len(lacking) > 20
        assert not any(backfill.lacks(frame) for frame in FRAMES)
        assert not backfill.full
        assert kdumpfile.check(os.open(tmp_path / "dump", os.O_RDONLY)).complete
    assert pages_of(file(tmp_path)) == pages_of(dump)


def test_no_other_page_gets_in(tmp_path: Path) -> None:
    data = cut(DATA + 100000)
    with opened(tmp_path, data) as backfill:
        backfill.fill(packed(EXCLUDED, FRAMES[0], 39999))
        assert backfill.filled == 0
    assert len(file(tmp_path)) == len(data)


def test_a_descriptor_that_leads_past_the_end_is_emptied(tmp_path: Path) -> None:
    """It would lead to what is put there: the wrong page."""
    data = cut(DATA + 50000)
    lost = [n for n in range(len(FRAMES)) if struct.unpack_from("<Q", data, START + n * 24)[0] > len(data)]
    assert lost
    with opened(tmp_path, data) as backfill:
        backfill.fill(packed(33000, 33001, 329, 327, 325))
    assert_true(file(tmp_path))
    assert all(struct.unpack_from("<Q", file(tmp_path), START + n * 24)[0] == 0 for n in lost)


def test_within_a_limit_the_last_pages_make_room(tmp_path: Path) -> None:
    data = cut(len(WHOLE) - 20000)
    before = pages_of(data)
    with opened(tmp_path, data, limit_bytes=len(data)) as backfill:
        backfill.fill(packed(33000, 33001))
        assert backfill.filled == 2
        assert backfill.changed
    after = pages_of(file(tmp_path))
    assert len(file(tmp_path)) == len(data)
    assert {33000, 33001} < after.keys()
    assert 1 <= len(before.keys() - after.keys()) <= 8
    assert_true(file(tmp_path))


def test_what_may_be_overwritten_is_lacking(tmp_path: Path) -> None:
    """A page in the last three quarters would be lost, had it not been put in anew."""
    data = cut(len(WHOLE) - 20000)
    last = max(frame for frame in pages_of(data) if frame % 7)
    with opened(tmp_path, data, limit_bytes=len(data)) as backfill:
        assert backfill.lacks(last)
        backfill.fill(packed(last))
        assert not backfill.lacks(last)
        while not backfill.full:
            backfill.fill(packed(*(frame for frame in FRAMES if backfill.lacks(frame))))
    assert last in pages_of(file(tmp_path))
    assert FRAMES[0] in pages_of(file(tmp_path))


def test_a_page_on_the_edge_of_what_makes_room_is_not_lost(tmp_path: Path) -> None:
    data = cut(len(WHOLE) - 20000)
    edge = DATA + (len(data) - DATA) // 4
    where = {frame: struct.unpack_from("<QI", data, START + n * 24) for n, frame in enumerate(FRAMES)}
    (frame,) = (frame for frame, (start, size_bytes) in where.items() if start < edge < start + size_bytes)
    with opened(tmp_path, data, limit_bytes=len(data)) as backfill:
        backfill.fill({})
        assert frame in pages_of(file(tmp_path))
        backfill.fill(packed(frame, 33000))
    assert {frame, 33000} <= pages_of(file(tmp_path)).keys()
    assert_true(file(tmp_path))


def test_where_there_is_no_room_nothing_is_touched(tmp_path: Path) -> None:
    data = cut(DATA + 50000)
    with pytest.raises(FormatError, match="too few"), opened(tmp_path, data, limit_bytes=DATA + 60000):
        pass
    assert file(tmp_path) == data


def test_pages_in_no_order_are_left_alone(tmp_path: Path) -> None:
    data = bytearray(WHOLE)
    descriptors = data[START : START + 144]
    data[START : START + 144] = (
        descriptors[:24] + descriptors[120:] + descriptors[48:120] + descriptors[24:48]
    )
    with pytest.raises(FormatError, match="not in order"), opened(tmp_path, bytes(data)):
        pass


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(cut(DATA + 100000))
    fd = os.open(tmp_path / "dump", os.O_RDONLY)
    backfill = Backfill(fd, kdumpfile.check(fd), limit_bytes=None)
    with suppress(OSError):
        backfill.prepare()
    with pytest.raises(OSError, match="Bad file descriptor"):
        backfill.fill(packed(33000))
    backfill.close()
    assert backfill.filled == 0


@ONE_FILE
@given(
    size_bytes=st.integers(DATA + 5000, len(WHOLE)),
    at_once=st.sampled_from([1, 16, 50]),
    spare_bytes=st.none() | st.integers(0, 200000),
    batches=st.lists(st.lists(st.sampled_from([*FRAMES, EXCLUDED]), max_size=12), max_size=8),
)
def test_whatever_is_filled_the_dump_is_true(
    tmp_path: Path, size_bytes: int, at_once: int, spare_bytes: int | None, batches: list[list[int]]
) -> None:
    data = cut(size_bytes, at_once=at_once)
    limit_bytes = None if spare_bytes is None else size_bytes + spare_bytes
    with suppress(FormatError), opened(tmp_path, data, limit_bytes=limit_bytes) as backfill:
        wanted: set[int] = set()
        for batch in batches:
            backfill.fill(packed(*batch))
            assert_true(file(tmp_path))
            if backfill.full:
                break
            wanted |= set(batch) - {EXCLUDED}
            assert wanted <= pages_of(file(tmp_path)).keys()
        fd = os.open(tmp_path / "dump", os.O_RDONLY)
        found = kdumpfile.check(fd)
        os.close(fd)
        assert found.pages == len(pages_of(file(tmp_path)))
        assert limit_bytes is None or found.size_bytes <= limit_bytes


@pytest.mark.slow
def test_a_bitmap_of_many_pages_takes_little_memory(tmp_path: Path) -> None:
    """One of 64 GiB."""
    dump = makedump.kdump({5: content(5), 10 << 20: content(7)}, max_mapnr=16 << 20)
    path = tmp_path / "dump"
    path.write_bytes(dump)
    fd = os.open(path, os.O_RDWR)
    backfill = Backfill(fd, kdumpfile.check(fd), limit_bytes=None)
    backfill.prepare()
    assert [frame for frame in (4, 5, 6, 10 << 20, 16 << 20) if backfill.expects(frame)] == [5, 10 << 20]
    assert not backfill.lacks(10 << 20)
    backfill.close()
