"""Targets: files out of a crash. A case is a whole file, or changes to a good one where they count."""

import functools
import struct
from collections.abc import Sequence

from tests import makedump
from tests.fuzz.cursor import Cursor
from tests.fuzz.memory import content_of, fill
from tests.fuzz.target import Target, is_safe, refusal

from kdumpd.crashes.artefacts import make_stamp, parse_name
from kdumpd.dump import kdumpfile
from kdumpd.errors import FormatError
from kdumpd.testing.kdumpfile import descriptors_offset, make_note
from kdumpd.vmcore import headers

# Where the header has its status bits (diskdump_mod.h).
_STATUS = 424

_NUMBERS = (0, 1, 4095, 4096, 4097, 65536, 1 << 31, (1 << 32) - 1, 1 << 44, 1 << 63, (1 << 64) - 1)
_WORDS = (
    *(struct.pack("<Q", number) for number in _NUMBERS),
    b"VMCOREINFO\0",
    b"KDUMP   ",
    b"\x7fELF",
)


def _changed(case: bytes, bases: Sequence[bytes], regions: Sequence[int]) -> bytes:
    """The file that a case stands for.

    Its first byte chooses a good file, or that the rest is the file; then come the bytes to cut off the
    end, and changes: a region, an offset in it, a length of 1 to 8, the new bytes.
    """
    cursor = Cursor(case)
    choice = cursor.number()
    if choice >= len(bases):
        return cursor.rest()
    file = bytearray(bases[choice])
    del file[max(len(file) - cursor.number(2), 0) :]
    while cursor:
        offset = regions[cursor.number() % len(regions)] + cursor.number()
        new = cursor.take(cursor.number() % 8 + 1)
        if offset + len(new) <= len(file):
            file[offset : offset + len(new)] = new
    return bytes(file)


@functools.cache
def _dumps() -> tuple[bytes, ...]:
    sealed = bytearray(makedump.kdump(level=0, compression="none"))
    sealed[_STATUS] |= makedump.INCOMPLETE
    return (
        makedump.kdump(),
        makedump.kdump({1: b"a" * 4096}, vmcoreinfo=b"", level=1, max_mapnr=8),
        makedump.kdump(compression="zstd", block_bytes=8192, max_mapnr=40000),
        bytes(sealed),
    )


@functools.cache
def _dump_regions() -> tuple[int, ...]:
    starts = {0, 420, 4096, 4096 + 104, 8192, *map(descriptors_offset, _dumps())}
    return tuple(sorted(starts | {start - 4096 for start in starts if start > 4096}))


def _kdump(case: bytes) -> None:
    content = _changed(case, _dumps(), _dump_regions())
    file = fill("dump", content)
    with refusal(FormatError):
        check = kdumpfile.check(file)
        assert 0 <= check.pages <= check.expected_pages <= check.header.max_mapnr
        assert check.size_bytes == len(content)
        assert check.complete <= (not check.header.incomplete)
    assert content_of(file) == content, "a check changed the file"
    sealed = False
    with refusal(FormatError):
        kdumpfile.seal(file)
        sealed = True
    if sealed:
        assert kdumpfile.read_header(file).incomplete
        content = _with_incomplete_bit(content)
    assert content_of(file) == content, "a seal changed more than its bit"


def _with_incomplete_bit(content: bytes) -> bytes:
    (status,) = struct.unpack_from("<I", content, _STATUS)
    return content[:_STATUS] + struct.pack("<I", status | makedump.INCOMPLETE) + content[_STATUS + 4 :]


@functools.cache
def _cores() -> tuple[bytes, ...]:
    device_dump = make_note(b"LINUX", 0x700, bytes(100))
    return makedump.vmcore(), makedump.vmcore(before=[device_dump]), makedump.vmcore(None)


_CORE_REGIONS = (0, 64, 4096, 4096 + 360, 4096 + 720)


def _vmcore(case: bytes) -> None:
    file = fill("vmcore", _changed(case, _cores(), _CORE_REGIONS))
    with refusal(FormatError):
        _require_sound(headers.read_vmcoreinfo(f"/proc/self/fd/{file}"))


def _vmcoreinfo(case: bytes) -> None:
    with refusal(FormatError):
        _require_sound(headers.parse_vmcoreinfo(case))


def _require_sound(info: headers.Vmcoreinfo) -> None:
    assert info.values
    assert all(is_safe(key) and is_safe(value) for key, value in info.values.items())
    assert info.page_bytes is None or 0 <= info.page_bytes <= 1 << 30
    if info.crash_time_s is not None:
        artefact = parse_name(f"kdump-{make_stamp(info.crash_time_s)}.dump")
        assert artefact is not None
        assert artefact.order == (info.crash_time_s, 1)


def _change(base: int, cut_bytes: int, *changes: tuple[int, int, bytes]) -> bytes:
    head = struct.pack("<BH", base, cut_bytes)
    return head + b"".join(bytes([region, offset, len(new) - 1]) + new for region, offset, new in changes)


def _kdump_seeds() -> list[bytes]:
    status, sub_header = _dump_regions().index(420), _dump_regions().index(4096)
    table = _dump_regions().index(descriptors_offset(_dumps()[0]))
    # Status and sizes; level and split, VMCOREINFO's offset and size, max_mapnr; two descriptors.
    fields = [*((status, at, 4) for at in (4, 8, 12, 16)), *((sub_header, at, 4) for at in (8, 12))]
    fields += [*((sub_header, at, 8) for at in (32, 40, 96)), *((table, at, 8) for at in (0, 8, 24, 32))]
    cut = [_change(base, cut) for base in range(4) for cut in (0, 1, 100, 4096, 9000)]
    return cut + _with_numbers(fields)


def _vmcore_seeds() -> list[bytes]:
    # e_phoff and e_phnum; a segment's type, offset and size; the first note's sizes.
    fields = [(0, 32, 8), (0, 56, 2), (1, 0, 4), (1, 8, 8), (1, 32, 8), (2, 0, 4), (2, 4, 4), (4, 0, 4)]
    cut = [_change(base, cut) for base in range(3) for cut in (0, 4096, 4200, 8000)]
    return cut + _with_numbers(fields)


def _with_numbers(fields: Sequence[tuple[int, int, int]]) -> list[bytes]:
    """The first good file with each number in each field: a region, an offset in it, a size."""
    return [
        _change(0, 0, (region, at, struct.pack("<Q", number)[:size_bytes]))
        for region, at, size_bytes in fields
        for number in _NUMBERS
    ]


def _vmcoreinfo_seeds() -> list[bytes]:
    lines = makedump.VMCOREINFO.splitlines(keepends=True)
    return [makedump.VMCOREINFO, *lines, b"CRASHTIME=253402300799\n", b"CRASHTIME=253402300800\n"]


KDUMP = Target(run=_kdump, seeds=_kdump_seeds, words=_WORDS, max_bytes=512)
VMCORE = Target(run=_vmcore, seeds=_vmcore_seeds, words=_WORDS, max_bytes=512)
VMCOREINFO = Target(
    run=_vmcoreinfo,
    seeds=_vmcoreinfo_seeds,
    words=(
        b"CRASHTIME=",
        b"PAGESIZE=",
        b"OSRELEASE=",
        b"BUILD-ID=",
        b"253402300799",
        b"1073741824",
        b"\0",
        b"\n",
    ),
    max_bytes=1024,
)
