"""makedumpfile's words: version, progress, page report, and what they mean for privacy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.dump import makedumpfile
from kdumpd.dump.makedumpfile import Capabilities, PageReport
from kdumpd.errors import DumpError

VERSION_172 = b"""makedumpfile: version 1.7.2 (released on 20 Oct 2022)
lzo\tenabled
snappy\tdisabled
zstd\tdisabled

"""
REPORT = b"""\r
Original pages  : 0x000000000007be6c
  Excluded pages   : 0x0000000000072b4d
    Pages filled with zero  : 0x0000000000001a07
    Non-private cache pages : 0x0000000000003da5
    Private cache pages     : 0x0000000000000006
    User process data pages : 0x0000000000000d51
    Free pages              : 0x000000000006c64a
    Hwpoison pages          : 0x0000000000000000
    Offline pages           : 0x0000000000000000
  Remaining pages  : 0x000000000000931f
  (The number of pages is reduced to 7%.)
Memory Hole     : 0x0000000000004194
--------------------------------------------------
Total pages     : 0x0000000000080000
Write bytes     : 46595553

Cache hit: 1247, miss: 219, hit rate: 85.1%

"""


def test_version_and_compressions() -> None:
    assert makedumpfile.parse_version(VERSION_172) == Capabilities(
        version="1.7.2", compressions=frozenset({"zlib", "none", "lzo"})
    )


@pytest.mark.parametrize("output", [b"", b"bash: command not found", b"version", b"\xff\x00"])
def test_another_program_is_not_makedumpfile(output: bytes) -> None:
    with pytest.raises(DumpError, match="is not makedumpfile"):
        makedumpfile.parse_version(output)


def test_the_best_compression_that_is_built_in() -> None:
    def best(*built_in: str) -> str:
        capabilities = Capabilities(version="1.7.8", compressions=frozenset({"zlib", "none", *built_in}))
        return makedumpfile.choose_compression("auto", capabilities)[0]

    assert best("lzo", "zstd") == "zstd"
    assert best("lzo") == "lzo"
    assert best() == "zlib"


def test_a_compression_that_is_not_built_in_is_replaced_and_said() -> None:
    capabilities = makedumpfile.parse_version(VERSION_172)
    chosen, warning = makedumpfile.choose_compression("zstd", capabilities)
    assert chosen == "lzo"
    assert warning == "makedumpfile 1.7.2 has no zstd: lzo is used"
    assert makedumpfile.choose_compression("none", capabilities) == ("none", None)


def test_the_command_lines() -> None:
    assert makedumpfile.dump_argv("mdf", "/proc/vmcore", level=31, compression="lzo") == [
        "mdf", "-F", "-l", "-d", "31", "--message-level", "21", "/proc/vmcore",
    ]  # fmt: skip
    assert "-c" in makedumpfile.dump_argv("mdf", "/proc/vmcore", level=31, compression="zlib")
    assert "--dry-run" in makedumpfile.survey_argv("mdf", "/proc/vmcore", level=31)


def test_progress_is_the_last_percentage_of_the_copying() -> None:
    messages = (
        b"Excluding free pages : [100.0 %] \rCopying data : [ 12.5 %] / eta: 3s\rCopying data : [ 45.1 %] |"
    )
    assert makedumpfile.parse_progress(messages) == 45.1
    assert makedumpfile.parse_progress(b"Excluding free pages : [ 99.0 %]") is None
    assert makedumpfile.parse_progress(b"") is None


def test_a_phase_that_moves_is_seen() -> None:
    holes = b"Checking for memory holes".ljust(50)
    first = makedumpfile.parse_phase(holes + b": [  0.0 %] /")
    second = makedumpfile.parse_phase(holes + b": [  1.0 %] /")
    same = makedumpfile.parse_phase(b"noise\r" + holes + b": [  1.0 %] |  eta: 9s")
    assert first is not None
    assert first != second
    assert second == same
    assert makedumpfile.parse_phase(b"noise") is None


def test_the_page_report() -> None:
    report = makedumpfile.parse_report(b"Copying data : [100.0 %] -\r" + REPORT)
    assert report == PageReport(
        total_pages=0x80000,
        kept_pages=0x931F,
        zero_pages=0x1A07,
        cache_pages=0x3DA5,
        private_cache_pages=6,
        user_pages=0xD51,
        free_pages=0x6C64A,
        hwpoison_pages=0,
        offline_pages=0,
        hole_pages=0x4194,
        written_bytes=46595553,
    )


def test_a_report_cut_short_is_none() -> None:
    for line in (b"Free pages", b"User process data pages", b"Total pages", b"Remaining pages"):
        cut = b"\n".join(row for row in REPORT.splitlines() if line not in row)
        assert makedumpfile.parse_report(cut) is None


def changed(name: bytes) -> PageReport:
    lines = [
        row.split(b":")[0] + b": 0x0000000000000000" if name in row else row for row in REPORT.splitlines()
    ]
    report = makedumpfile.parse_report(b"\n".join(lines))
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("name", "level", "why"),
    [
        (b"Free pages", 31, "free pages were not excluded"),
        (b"Free pages", 16, "free pages were not excluded"),
        (b"Free pages", 15, None),
        (b"User process data pages", 31, "user pages were not excluded"),
        (b"User process data pages", 23, None),
        (b"Non-private cache pages", 31, "cache pages were not excluded"),
        (b"Non-private cache pages", 1, None),
        (b"Hwpoison pages", 31, None),
    ],
)
def test_a_class_that_was_not_excluded_is_named(name: bytes, level: int, why: str | None) -> None:
    assert makedumpfile.unfiltered(changed(name), level) == why


@given(st.binary())
def test_any_messages_are_read_without_an_error(messages: bytes) -> None:
    percent = makedumpfile.parse_progress(messages)
    assert percent is None or 0 <= percent <= 100
    makedumpfile.parse_phase(messages)
    makedumpfile.parse_report(messages)
