"""Free pages left out on the way: those and no other, whatever the order, the form and the pieces are."""

import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import makedump, makestream

from kdumpd.dump import kdumpfile
from kdumpd.dump.eraser import Eraser
from kdumpd.errors import FormatError

MAX_MAPNR = 70000
CHOICE = [*range(1, 60), 700, 701, 32767, 32768, 32769, *range(40000, 40040), 65535, 65536, 69999]


def content(frame: int) -> bytes:
    """A page of its own for each frame: zeros, text, noise."""
    if frame % 7 == 0:
        return bytes(4096)
    if frame % 2:
        return struct.pack("<Q", frame) * 512
    return b"".join(struct.pack("<I", (frame + n) * 2654435761 & 0xFFFFFFFF) for n in range(1024))


def kdump(frames: Iterable[int], **how: object) -> bytes:
    pages = {frame: content(frame) for frame in sorted(frames)}
    return makedump.kdump(pages, max_mapnr=MAX_MAPNR, **how)  # type: ignore[arg-type]


def finder(free: Iterable[int]) -> Callable[[int, bytes], bytes]:
    """Says which of the frames asked for are in `free`."""
    every = set(free)

    def find(first_frame: int, bits: bytes) -> bytes:
        assert first_frame % 512 == 0
        assert len(bits) % 64 == 0
        found = bytearray(len(bits))
        for frame in every:
            place = frame - first_frame
            if 0 <= place < len(bits) * 8:
                found[place // 8] |= 1 << place % 8
        return bytes(found)

    return find


def passed(eraser: Eraser, stream: bytes, step: int = 1 << 16) -> list[tuple[int, bytes]]:
    return [
        piece for place in range(0, len(stream), step) for piece in eraser.feed(stream[place : place + step])
    ]


def pages_of(dump: bytes, frames: Iterable[int]) -> dict[int, bytes]:
    """The pages in a dump as a reader sees them."""
    start, found = makedump.descriptors_offset(dump), {}
    for index, frame in enumerate(sorted(frames)):
        offset, size, flags = struct.unpack_from("<QII", dump, start + index * 24)
        data = dump[offset : offset + size]
        found[frame] = zlib.decompress(data) if flags else data
    return found


def counted(dump: bytes, folder: Path) -> kdumpfile.Check:
    (folder / "dump").write_bytes(dump)
    fd = os.open(folder / "dump", os.O_RDONLY)
    try:
        return kdumpfile.check(fd)
    finally:
        os.close(fd)


# a busy machine pauses
PATIENT = settings(deadline=2000)
forms = st.fixed_dictionaries(
    {"compression": st.sampled_from(["zlib", "none"]), "level": st.sampled_from([31, 17, 16])}
)
frame_sets = st.sets(st.sampled_from(CHOICE), min_size=1)
cuts = {"at_once": st.integers(1, 40), "bits_bytes": st.sampled_from([None, 4096, 8192])}


@PATIENT
@given(frames=frame_sets, form=forms, step=st.integers(100, 9000), cut=st.fixed_dictionaries(cuts))
def test_without_free_pages_the_file_is_the_same(
    frames: set[int], form: dict[str, object], step: int, cut: dict[str, int]
) -> None:
    dump = kdump(frames, **form)
    eraser = Eraser(finder(()))
    pieces = passed(eraser, makestream.stream(makestream.records(dump, pages=len(frames), **cut)), step)
    assert makestream.placed(pieces) == dump
    assert (eraser.ended, eraser.erased, eraser.why_not) == (True, 0, None)


@PATIENT
@given(frames=frame_sets, free=frame_sets, form=forms, cut=st.fixed_dictionaries(cuts))
def test_free_pages_read_as_zeros_and_no_other_byte_changes(
    frames: set[int], free: set[int], form: dict[str, object], cut: dict[str, int]
) -> None:
    dump, eraser = kdump(frames, **form), Eraser(finder(free))
    pieces = passed(eraser, makestream.stream(makestream.records(dump, pages=len(frames), **cut)))
    made = makestream.placed(pieces)
    assert eraser.why_not is None
    want = {frame: bytes(4096) if frame in free else content(frame) for frame in frames}
    assert pages_of(made, frames) == want
    # what is not a free page's, descriptor or data, is as it was
    same = bytearray(made.ljust(len(dump), b"\0"))
    start = makedump.descriptors_offset(dump)
    for index, frame in enumerate(sorted(frames)):
        offset, size = struct.unpack_from("<QI", dump, start + index * 24)
        for place, length in ((start + index * 24, 24), (offset, size)):
            if frame in free:
                same[place : place + length] = dump[place : place + length]
    assert bytes(same) == dump


@PATIENT
@given(frames=frame_sets, cut=st.fixed_dictionaries(cuts), size=st.integers(0, 1 << 18))
def test_no_free_page_is_written_however_early_the_stream_is_cut(
    frames: set[int], cut: dict[str, int], size: int
) -> None:
    free = {frame for frame in frames if frame % 2 == 0}
    stream = makestream.stream(makestream.records(kdump(frames), pages=len(frames), **cut))
    written = b"".join(data for _, data in passed(Eraser(finder(free)), stream[:size]))
    noise = [content(frame)[:64] for frame in free if frame % 7]
    assert not any(piece in written for piece in noise)


def test_a_record_can_end_inside_a_descriptor() -> None:
    frames = range(2, 60)
    *front, bitmap, first, second = makestream.records(kdump(frames), pages=58, at_once=58)
    place, descriptors = second
    torn = [(place, descriptors[:70]), first, (place + 70, descriptors[70:])]
    eraser = Eraser(finder(range(2, 60, 2)))
    made = makestream.placed(passed(eraser, makestream.stream([*front, bitmap, *torn])))
    assert eraser.why_not is None
    assert pages_of(made, frames) == {frame: content(frame) if frame % 2 else bytes(4096) for frame in frames}


def test_the_file_is_complete_and_says_how_much_was_left_out(tmp_path: Path) -> None:
    frames = range(2, 66, 2)
    dump, eraser = kdump(frames), Eraser(finder(range(30, 40)))
    made = makestream.placed(passed(eraser, makestream.stream(makestream.records(dump, pages=32, at_once=8))))
    assert counted(made, tmp_path).complete
    assert (eraser.erased, eraser.erased_bytes) == (5, 5 * 4096)


def test_the_last_pages_make_the_file_shorter() -> None:
    dump = kdump(range(2, 60))
    records = makestream.records(dump, pages=58, at_once=8)
    made = makestream.placed(passed(Eraser(finder([58, 59])), makestream.stream(records)))
    assert len(made) < len(dump)


def test_where_it_cannot_be_told_the_rest_passes_as_it_is() -> None:
    def find(first_frame: int, bits: bytes) -> bytes:
        if first_frame:
            raise FormatError("kernel 9.9 is newer than 7.2")
        return finder([4])(first_frame, bits)

    frames = [2, 4, 8, 40000, 40002]
    dump, eraser = kdump(frames), Eraser(find)
    pieces = passed(eraser, makestream.stream(makestream.records(dump, pages=5, at_once=2)))
    assert pages_of(makestream.placed(pieces), frames) == {
        frame: bytes(4096) if frame == 4 else content(frame) for frame in frames
    }
    assert (eraser.erased, eraser.why_not) == (1, "kernel 9.9 is newer than 7.2")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda records: records[4:], "the stream is not of a kdump file"),
        (lambda records: [*records[:4], *records[5:]], "there are more page descriptors than bits"),
        (lambda records: [*records[:6], records[7], records[6], *records[8:]], None),
        (lambda records: records[:-1], "the last pages have no descriptors"),
        (lambda records: [(0, bytes(4096)), *records[1:]], "the stream is not of a kdump file"),
        (
            lambda records: [*records[:5], (records[5][0], records[5][1][:-1])],
            "the last pages have no descriptors",
        ),
    ],
    ids=["no headers", "no bitmap", "another order", "no last descriptors", "no signature", "torn"],
)
def test_what_is_not_as_it_should_be_passes_as_it_is(
    change: Callable[[makestream.Records], makestream.Records], why: str | None
) -> None:
    records = change(makestream.records(kdump(range(2, 60)), pages=58, at_once=8))
    eraser = Eraser(finder(()))
    pieces = passed(eraser, makestream.stream(records))
    assert makestream.placed(pieces) == makestream.placed(records)
    assert (eraser.why_not is None) if why is None else (why in (eraser.why_not or ""))


def test_a_damaged_stream_is_an_error() -> None:
    with pytest.raises(FormatError):
        list(Eraser(finder(())).feed(bytes(5000)))
