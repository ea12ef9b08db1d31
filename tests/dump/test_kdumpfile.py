"""The kdump file: headers read, structure checked, a cut file sealed."""

import os
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import drgn
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import makedump

from kdumpd.dump import kdumpfile
from kdumpd.errors import FormatError
from kdumpd.testing.kdumpfile import DESCRIPTOR_BYTES, descriptors_offset

# One file is overwritten by each example on purpose.
ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)

DUMP = makedump.kdump()
TABLE = descriptors_offset(DUMP)
FIRST_BITMAP, SECOND_BITMAP = TABLE - 8192, TABLE - 4096
SUB_HEADER = 4096


@contextmanager
def opened(folder: Path, data: bytes, flags: int = os.O_RDWR) -> Iterator[int]:
    path = folder / "dump"
    path.write_bytes(data)
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def header_of(folder: Path, data: bytes) -> kdumpfile.Header:
    with opened(folder, data) as fd:
        return kdumpfile.read_header(fd)


def check(folder: Path, data: bytes) -> kdumpfile.Check:
    with opened(folder, data) as fd:
        return kdumpfile.check(fd)


def changed(offset: int, layout: str, *values: int | bytes, dump: bytes = DUMP) -> bytes:
    data = bytearray(dump)
    struct.pack_into("<" + layout, data, offset, *values)
    return bytes(data)


def descriptor(index: int, *values: int, dump: bytes = DUMP) -> bytes:
    """A dump with offset, size and flags of one page descriptor replaced."""
    return changed(TABLE + index * DESCRIPTOR_BYTES, "QII", *values, dump=dump)


def test_the_builder_makes_what_readers_open(tmp_path: Path) -> None:
    """drgn reads through libkdumpfile, which shares no code with kdumpd or makedumpfile."""
    path = tmp_path / "dump"
    path.write_bytes(DUMP)
    program = drgn.Program()
    program.set_core_dump(path)
    for frame, page in makedump.PAGES.items():
        assert program.read(frame * 4096, 4096, physical=True) == page


def test_header_is_read(tmp_path: Path) -> None:
    assert header_of(tmp_path, DUMP) == kdumpfile.Header(
        version=6,
        nodename="edge-7",
        release="6.12.49-linuxkit",
        machine="x86_64",
        status=1,
        block_bytes=4096,
        sub_header_blocks=1,
        bitmap_blocks=2,
        max_mapnr=1000,
        dump_level=31,
        vmcoreinfo=makedump.VMCOREINFO,
    )


@pytest.mark.parametrize("name", ["none", "zlib", "lzo", "snappy", "zstd"])
def test_compression_is_named(tmp_path: Path, name: str) -> None:
    header = header_of(tmp_path, makedump.kdump(compression=name))
    assert (header.compression, header.incomplete) == (name, False)


def test_a_header_without_vmcoreinfo_is_read(tmp_path: Path) -> None:
    assert header_of(tmp_path, makedump.kdump(vmcoreinfo=b"")).vmcoreinfo == b""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the file ends before byte 464"),
        (DUMP[:463], "the file ends before byte 464"),
        (DUMP[: SUB_HEADER + 103], "the file ends before byte 4200"),
        (b"DISKDUMP" + DUMP[8:], "not a kdump file"),
        (changed(8, "I", 5), "version 5"),
        (changed(428, "I", 0), "blocks of 0 bytes"),
        (changed(428, "I", 5000), "blocks of 5000 bytes"),
        (changed(432, "I", 0), "0 sub-header"),
        (changed(436, "I", 3), "3 bitmap blocks"),
        (changed(436, "I", 0), "bitmaps of 0 bytes for 1000 page frames"),
        (changed(SUB_HEADER, "104s", bytes(104)), "cut before its sub-header"),
        (changed(SUB_HEADER + 8, "i", 32), "dump level 32"),
        (changed(SUB_HEADER + 8, "i", -1), "dump level"),
        (changed(SUB_HEADER + 12, "i", 1), "split 1"),
        (changed(SUB_HEADER + 32, "Q", 1 << 63), "cannot read"),
        (changed(SUB_HEADER + 40, "Q", 65537), "VMCOREINFO of 65537 bytes is too long"),
        (changed(SUB_HEADER + 40, "Q", 65536), "the file ends before"),
        (changed(SUB_HEADER + 96, "Q", 4096 * 8 + 1), "bitmaps of 4096 bytes for 32769 page frames"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        header_of(tmp_path, data)


@pytest.mark.parametrize("compression", ["none", "zlib"])
@pytest.mark.parametrize("level", [0, 1, 16, 31])
@pytest.mark.parametrize("block_bytes", [4096, 65536])
def test_a_whole_dump_is_complete(tmp_path: Path, compression: str, level: int, block_bytes: int) -> None:
    pages = {frame: page * (block_bytes // 4096) for frame, page in makedump.PAGES.items()}
    data = makedump.kdump(pages, compression=compression, level=level, block_bytes=block_bytes)
    found = check(tmp_path, data)
    assert (found.pages, found.expected_pages, found.size_bytes) == (5, 5, len(data))
    assert found.complete
    assert found.header.dump_level == level


@pytest.mark.parametrize("level", [0, 31])
def test_a_dump_without_pages_of_zeros_is_complete(tmp_path: Path, level: int) -> None:
    """With level 31 the page of zeros is written though no descriptor points at it."""
    found = check(tmp_path, makedump.kdump({3: b"text" * 1024, 4: b"data" * 1024}, level=level))
    assert (found.pages, found.expected_pages, found.complete) == (2, 2, True)


def test_a_dump_of_several_chunks_is_counted(tmp_path: Path) -> None:
    pages = {frame * 3: frame.to_bytes(4) * 1024 for frame in range(9000)}
    assert check(tmp_path, makedump.kdump(pages, max_mapnr=1 << 20)).pages == 9000


def test_a_cut_dump_has_fewer_pages(tmp_path: Path) -> None:
    found = check(tmp_path, DUMP[:-1])
    assert (found.pages, found.expected_pages, found.complete) == (4, 5, False)


def test_no_cut_is_taken_for_a_whole_dump(tmp_path: Path) -> None:
    lengths = [*range(TABLE + 24, TABLE + 130), *range(TABLE + 130, len(DUMP), 61), len(DUMP) - 1]
    counts = [check(tmp_path, DUMP[:length]).pages for length in lengths]
    assert counts == sorted(counts)
    assert set(counts) == {0, 2, 3, 4}


def test_descriptors_not_yet_written_are_missing_pages(tmp_path: Path) -> None:
    data = changed(TABLE + 3 * 24, "48s", bytes(48))
    found = check(tmp_path, data)
    assert (found.pages, found.expected_pages) == (3, 5)


def test_no_descriptor_written_means_no_page(tmp_path: Path) -> None:
    found = check(tmp_path, changed(TABLE, "120s", bytes(120)))
    assert (found.pages, found.expected_pages) == (0, 5)


@pytest.mark.parametrize("torn_bytes", range(1, 13))
def test_the_last_descriptor_may_be_torn(tmp_path: Path, torn_bytes: int) -> None:
    data = bytearray(DUMP)
    data[TABLE + 24 + torn_bytes : TABLE + 5 * 24] = bytes(4 * 24 - torn_bytes)
    assert check(tmp_path, bytes(data)).pages == 1


@pytest.mark.parametrize(
    "values",
    [
        (TABLE, 100, 1),
        (1, 100, 1),
        (len(DUMP), 0, 1),
        (len(DUMP), 4097, 1),
        (len(DUMP), 4095, 0),
        (len(DUMP), 100, 3),
        (len(DUMP), 100, 8),
        (0, 4096, 0),
        (0, 0, 1),
    ],
)
def test_a_broken_descriptor_is_found(tmp_path: Path, values: tuple[int, int, int]) -> None:
    with pytest.raises(FormatError, match="broken page descriptor"):
        check(tmp_path, descriptor(1, *values))
    assert not check(tmp_path, descriptor(4, *values)).complete


@pytest.mark.parametrize("offset", [TABLE + 1, TABLE + 24, TABLE + 5 * 24 + 8, (1 << 64) - 1])
def test_data_must_follow_the_descriptors(tmp_path: Path, offset: int) -> None:
    with pytest.raises(FormatError, match="does not fit 5 page descriptors"):
        check(tmp_path, descriptor(0, offset, 100, 1))


def test_a_second_bitmap_cut_between_its_parts_shows(tmp_path: Path) -> None:
    """In makedumpfile's cyclic mode pages of the first part come before the rest of the bitmap."""
    data = changed(SECOND_BITMAP + 80, "50s", bytes(50))
    data = changed(TABLE + 3 * 24, "48s", bytes(48), dump=data)
    found = check(tmp_path, data)
    assert (found.pages, found.expected_pages) == (3, 5)


def test_a_table_said_to_be_long_is_read_as_far_as_the_file_goes(tmp_path: Path) -> None:
    data = changed(TABLE, "QII", TABLE + 24 * 1000, 100, 1, dump=changed(TABLE, "120s", bytes(120)))
    found = check(tmp_path, data[: TABLE + 120])
    assert (found.pages, found.expected_pages) == (0, 1000)


def test_pages_that_the_bitmap_lost_are_damage(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="5 pages are described, but the bitmap has only 4"):
        check(tmp_path, changed(SECOND_BITMAP, "B", 0))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (changed(FIRST_BITMAP, "B", 0), "where the machine has no memory"),
        (changed(SECOND_BITMAP + 125, "B", 1, dump=changed(FIRST_BITMAP + 125, "B", 1)), "no memory"),
        (changed(SECOND_BITMAP, "4096s", bytes(4096)), "the dump has no pages"),
        (changed(SECOND_BITMAP + 1, "B", 0xFF), "does not fit 11 page descriptors"),
        (DUMP[: TABLE - 1], "cut before its page descriptors"),
    ],
)
def test_wrong_bitmaps_are_refused(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        check(tmp_path, data)


@pytest.mark.slow
def test_a_check_of_many_pages_takes_little_memory(tmp_path: Path) -> None:
    count = 1 << 18  # 6 MiB of descriptors
    front = bytearray(makedump.kdump({0: bytes(4096)}, max_mapnr=count))
    table = descriptors_offset(bytes(front))
    front[table - count // 8 : table] = b"\xff" * (count // 8)
    data_offset = table + count * 24
    one = struct.pack("<QIIQ", data_offset, 4096, 0, 0)
    with opened(tmp_path, bytes(front[:table]) + one * count + bytes(4096)) as fd:
        tracemalloc.start()
        found = kdumpfile.check(fd)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (found.pages, found.expected_pages) == (count, count)
    assert peak_bytes < 1 << 20


def test_a_sealed_dump_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, DUMP[:-1]) as fd:
        kdumpfile.seal(fd)
        kdumpfile.seal(fd)
        found = kdumpfile.check(fd)
        assert os.pread(fd, len(DUMP), 0) == changed(424, "I", 1 | makedump.INCOMPLETE)[:-1]
    assert found.header.incomplete
    assert found.header.compression == "zlib"


def test_a_dump_sealed_though_whole_is_not_complete(tmp_path: Path) -> None:
    found = check(tmp_path, changed(424, "I", 1 | makedump.INCOMPLETE))
    assert (found.pages, found.expected_pages, found.complete) == (5, 5, False)


def test_nothing_is_sealed_before_there_are_headers(tmp_path: Path) -> None:
    with opened(tmp_path, DUMP[:4150]) as fd:
        with pytest.raises(FormatError, match="ends before"):
            kdumpfile.seal(fd)
        assert os.pread(fd, 8192, 0) == DUMP[:4150]


def test_a_seal_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with (
        opened(tmp_path, DUMP, os.O_RDONLY) as fd,
        pytest.raises(FormatError, match="cannot mark the dump incomplete: Bad file descriptor"),
    ):
        kdumpfile.seal(fd)


def test_what_is_no_file_is_refused() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(FormatError, match="cannot read 464 bytes at 0: Illegal seek"):
            kdumpfile.check(reader)
    finally:
        os.close(reader)
        os.close(writer)


def survive(folder: Path, data: bytes) -> None:
    """Whatever the bytes: a result that is in itself right, or FormatError."""
    with opened(folder, data) as fd:
        try:
            found = kdumpfile.check(fd)
        except FormatError:
            return
        assert 0 <= found.pages <= found.expected_pages
        assert found.size_bytes == len(data)
        kdumpfile.seal(fd)
        assert kdumpfile.read_header(fd).incomplete


@ONE_FILE
@given(data=st.binary(max_size=600))
def test_any_file_is_survived(tmp_path: Path, data: bytes) -> None:
    survive(tmp_path, b"KDUMP   \x06\0\0\0" + data)


# Where damage has an effect: headers, VMCOREINFO, the used start of each bitmap, the descriptors.
OFFSETS = (
    st.integers(0, 12)
    | st.integers(420, 470)
    | st.integers(SUB_HEADER, SUB_HEADER + 1000)
    | st.integers(FIRST_BITMAP, FIRST_BITMAP + 130)
    | st.integers(SECOND_BITMAP, SECOND_BITMAP + 130)
    | st.integers(TABLE, TABLE + 200)
)
VALUES = st.binary(min_size=1, max_size=9) | st.sampled_from([b"\xff" * 4, b"\xff" * 8, bytes(8), bytes(24)])


@ONE_FILE
@given(
    changes=st.lists(st.tuples(OFFSETS, VALUES), max_size=4),
    length=st.none() | st.integers(0, len(DUMP)),
)
def test_any_damage_is_survived(tmp_path: Path, changes: list[tuple[int, bytes]], length: int | None) -> None:
    data = bytearray(DUMP)
    for offset, value in changes:
        data[offset : offset + len(value)] = value
    survive(tmp_path, bytes(data[:length]))


@ONE_FILE
@given(
    frames=st.sets(st.integers(0, 999), min_size=1, max_size=30),
    kinds=st.lists(
        st.sampled_from([bytes(4096), b"abcd" * 1024, os.urandom(4096)]), min_size=30, max_size=30
    ),
    level=st.sampled_from([0, 1, 30, 31]),
)
def test_any_whole_dump_is_complete(tmp_path: Path, frames: set[int], kinds: list[bytes], level: int) -> None:
    pages = dict(zip(sorted(frames), kinds, strict=False))
    found = check(tmp_path, makedump.kdump(pages, level=level))
    assert found.complete
    assert found.pages == len(frames)
