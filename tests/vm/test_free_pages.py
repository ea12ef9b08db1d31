"""Free pages left out of dumps of real kernels, against an oracle that is not ours: drgn, with debug symbols.

The pages on the CPUs' lists are walked by drgn in the recorded memory of a crashed machine, and looked for in
the dump that makedumpfile makes of it.
"""

import filecmp
import os
import subprocess
from pathlib import Path

import pytest

from kdumpd.dump.eraser import Eraser
from kdumpd.dump.freemarks import FindFree
from kdumpd.dump.kdumpfile import check, read_header
from kdumpd.dump.makedumpfile import parse_report
from kdumpd.vmcore.pageclasses import Counts
from kdumpd.vmcore.survey import Survey

from . import percpulists, recording, symbols
from .streaming import passed, place, program, records, stream

pytestmark = pytest.mark.vm

LEVEL = 31
BUSY = [("bookworm", "6.1"), ("trixie", "6.12"), ("forky", "newest")]
MACHINES = [
    pytest.param("bookworm", recording.FILL, id="6.1"),
    pytest.param("trixie", recording.FILL, id="6.12"),
    pytest.param("forky", recording.FILL, id="newest", marks=pytest.mark.campaign),
    *(
        pytest.param(suite, recording.PRESSURE, id=f"{name} under pressure", marks=pytest.mark.campaign)
        for suite, name in BUSY
    ),
]


@pytest.mark.parametrize(("suite", "before"), MACHINES)
def test_every_page_on_the_lists_is_left_out_and_no_other(suite: str, before: str, tmp_path: Path) -> None:
    vmcore, vmlinux = recording.vmcore(suite, before), symbols.vmlinux(suite)
    on_lists = percpulists.frames(percpulists.open_with_symbols(vmcore, vmlinux))
    plain, erased = tmp_path / "plain", tmp_path / "erased"
    sent = stream(vmcore, tmp_path, "-c", "-d", str(LEVEL))
    found: set[int] = set()
    eraser = Eraser(_noting(Survey.open(str(vmcore)), found))
    place(records(sent), plain)
    place(passed(eraser, sent), erased)
    assert eraser.why_not is None
    assert found == set(on_lists)
    with erased.open("rb") as file:
        assert check(file.fileno()).complete
    whole, rest = (percpulists.open_with_symbols(path, vmlinux) for path in (plain, erased))
    assert len(percpulists.holding_data(whole, on_lists)) == eraser.erased > 0
    assert percpulists.holding_data(rest, on_lists) == []
    others = _kept(erased) - found
    assert len(others) > 10000
    differ = [frame for frame in others if percpulists.page(whole, frame) != percpulists.page(rest, frame)]
    assert differ == []


@pytest.mark.parametrize("compression", ["-c", "-l", "-z", ""], ids=["zlib", "lzo", "zstd", "none"])
@pytest.mark.parametrize(
    ("level", "memory"),
    [
        pytest.param("31", [], id="31"),
        pytest.param("31", ["--cyclic-buffer", "8"], id="in parts"),
        pytest.param("1", [], id="1", marks=pytest.mark.campaign),
    ],
)
def test_without_free_pages_the_file_is_the_same(
    recorded_vmcore: Path, tmp_path: Path, compression: str, level: str, memory: list[str]
) -> None:
    options = [*filter(None, [compression]), "-d", level, *memory]
    sent = stream(recorded_vmcore, tmp_path, *options)
    eraser = Eraser(lambda _, bits: bytes(len(bits)))
    place(records(sent), tmp_path / "plain")
    place(passed(eraser, sent), tmp_path / "passed")
    assert eraser.why_not is None
    assert filecmp.cmp(tmp_path / "plain", tmp_path / "passed", shallow=False)


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_kinds_of_pages_are_counted_as_makedumpfile_does(suite: str, tmp_path: Path) -> None:
    vmcore = recording.vmcore(suite)
    dump = tmp_path / "dump"
    place(records(stream(vmcore, tmp_path, "-d", str(LEVEL))), dump)
    survey = Survey.open(str(vmcore))
    bits = _bitmap(dump, number=0)
    survey.free_among(0, bits + bytes(-len(bits) % 64))
    said = parse_report(_report(vmcore))
    assert said is not None
    assert survey.counts == Counts(
        free=said.free_pages,
        cache=said.cache_pages,
        private_cache=said.private_cache_pages,
        user=said.user_pages,
    )


def _report(vmcore: Path) -> bytes:
    """The page report of a dry run; without zero pages, which are counted first where they are excluded."""
    command = [*program(), "-d", "30", "--dry-run", "--message-level", "16", str(vmcore)]
    return subprocess.run(command, capture_output=True, check=True).stderr


def _noting(survey: Survey, found: set[int]) -> FindFree:
    def find(first_frame: int, bits: bytes) -> bytes:
        free = survey.free_among(first_frame, bits)
        found.update(first_frame + bit for bit in _set_bits(free))
        return free

    return find


def _set_bits(bits: bytes) -> list[int]:
    return [index for index, bit in enumerate(reversed(f"{int.from_bytes(bits, 'little'):b}")) if bit == "1"]


def _bitmap(dump: Path, number: int) -> bytes:
    with dump.open("rb") as file:
        header = read_header(file.fileno())
        return os.pread(
            file.fileno(), header.bitmap_bytes, header.bitmap_offset + number * header.bitmap_bytes
        )


def _kept(dump: Path) -> set[int]:
    return set(_set_bits(_bitmap(dump, number=1)))
