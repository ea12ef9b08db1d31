"""What hostile input once broke."""

import json
import math
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests import makedump

from kdumpd.config import parse_config
from kdumpd.crashes.artefacts import expired, make_stamp
from kdumpd.crashes.record import CrashRecord, Log, parse_record
from kdumpd.dmesg.lines import last_lines
from kdumpd.dmesg.panic import TEXT_LINES, find_panic
from kdumpd.dump.kdumpfile import check
from kdumpd.dump.makedumpfile import parse_report
from kdumpd.dump.verdict import NO_DUMP
from kdumpd.errors import ConfigError, FormatError
from kdumpd.testing.kdumpfile import descriptors_offset

pytestmark = pytest.mark.slow

LOG_BYTES = 4 << 20
RECORD = CrashRecord(
    stamp="20261123T014039Z",
    crash_time_s=1795398039,
    reason="kernel panic",
    log=Log(name=None, size_bytes=0, tool=None),
    dump_name=None,
    dump=NO_DUMP,
)
OOPS = b"[    9.000000] Oops: 0002 [#1] SMP\n"


def test_a_release_out_of_a_damaged_banner_is_safe_for_a_terminal() -> None:
    panic = find_panic(b"Linux version 6.1.112-li\xff\x1b[2Jnux (gcc)\n" + OOPS)
    assert panic is not None
    assert panic.release == "6.1.112-li"


def test_a_log_full_of_first_lines_does_not_fill_the_memory() -> None:
    log = b"BUG: \n" * (LOG_BYTES // 6) + OOPS
    tracemalloc.start()
    try:
        assert find_panic(log) is not None
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 << 20  # 5 MiB; 65 when each such line was remembered


def test_a_report_is_found_however_far_from_the_end_it_is() -> None:
    filler = b"x" * 99 + b"\n"
    assert find_panic(OOPS + filler * 30_000) is not None
    assert find_panic(filler * 40_000 + OOPS) is not None


def test_the_searched_part_starts_at_a_line_start() -> None:
    quoted = b"said: Oops: 0002 [#1]\n"
    for size_bytes in range((1 << 20) - len(quoted), 1 << 20):
        assert find_panic(quoted + b"x" * (size_bytes - 1) + b"\n") is None


def test_the_release_is_read_from_the_start_of_a_log_however_long_it_is() -> None:
    panic = find_panic(b"Linux version 6.1.112 (gcc)\n" + b"a line\n" * 300_000 + OOPS)
    assert panic is not None
    assert panic.release == "6.1.112"


def test_a_fault_is_not_forgotten_for_the_lines_after_it() -> None:
    panic = find_panic(OOPS + b"BUG: \n" * 50_000 + b"Kernel panic - not syncing: Fatal exception\n")
    assert panic is not None
    assert panic.cause == "oops"
    assert len(panic.text) == TEXT_LINES


def test_no_last_lines_are_none() -> None:
    assert last_lines(b"one\ntwo\n", 0) == ()


def test_a_line_of_which_only_blanks_fit_is_blank() -> None:
    assert last_lines(b"one\n" + b"\t" * 128 + b"two", 5) == ("one",)


def test_a_folder_of_many_crashes_is_pruned_at_once() -> None:
    names = [f"kdump-{make_stamp(20 * number)}.dump" for number in range(20_000)]
    start_s = time.thread_time()
    assert expired(names, dumps=5, logs=5) == names[:-5]
    assert time.thread_time() - start_s < 3  # 0.2 s; 8 when it was quadratic


def test_a_page_count_may_start_with_zeros() -> None:
    classes = ("Total pages", "Remaining pages", "Non-private cache pages", "User process data pages")
    lines = [f"{name} : 0100\n" for name in (*classes, "Free pages")]
    report = parse_report("".join(lines).encode())
    assert report is not None
    assert report.free_pages == 100


@pytest.mark.parametrize(
    "text",
    [
        "[dump]\nmax_bytes = " + "9" * 5000,
        "[dump]\nmax_bytes = 0x" + "f" * 5000,
        "[retention]\ndumps = 9223372036854775808",
        '"a\\nb\\u001b" = 1',
        '[dump]\n"a\\nb\\u001b" = 1',
        f"{'a' * 3000} = 1",
        f"[dump]\n{'a' * 3000} = 1",
        f'[dump]\ncompression = "{"a" * 3000}"',
        ".".join("a" * 20_000) + " = 1",
    ],
)
def test_a_hostile_configuration_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_long_configuration_is_not_parsed() -> None:
    start_s = time.thread_time()
    with pytest.raises(ConfigError, match="39999 characters are too many"):
        parse_config(".".join("a" * 20_000))
    assert time.thread_time() - start_s < 0.5  # 2 s when it was


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 10**30},
        {"crash_time_s": 10**30},
        {"crash_time_s": 253402300800},
        {"crash_time_s": -1},
        {"log": {"name": None, "size_bytes": 1 << 63, "tool": None}},
        {"phases": [{"name": "dump", "start_s": math.inf, "duration_s": 0}]},
        {"tools": {"a\n\x1b": 1}},
        {"tools": {"a" * 3000: 1}},
    ],
)
def test_a_hostile_record_is_refused_in_one_short_line(change: dict[str, Any]) -> None:
    document = json.loads(RECORD.to_json()) | change
    # The only infinity that JSON has.
    data = json.dumps(document).replace("Infinity", "1e999").encode()
    with pytest.raises(FormatError) as caught:
        parse_record(data)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_record_of_the_last_second_that_a_calendar_has_is_read() -> None:
    record = attrs.evolve(RECORD, crash_time_s=253402300799)
    assert parse_record(record.to_json()) == record


def test_a_dump_has_no_more_pages_than_the_machine(tmp_path: Path) -> None:
    dump = bytearray(makedump.kdump(max_mapnr=1000))
    table = descriptors_offset(bytes(dump))
    struct.pack_into("<Q", dump, table, table + 24 * 1001)
    path = tmp_path / "dump"
    path.write_bytes(dump)
    with path.open("rb") as file, pytest.raises(FormatError, match="does not fit 5 page descriptors"):
        check(file.fileno())
