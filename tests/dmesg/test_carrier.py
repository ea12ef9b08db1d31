"""Logs as people have them: what syslog, the journal, dmesg and a console add to a line is taken off."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.dmesg.carrier import unwrap
from kdumpd.dmesg.causes import Cause
from kdumpd.dmesg.lines import PIECE_BYTES, decode
from kdumpd.dmesg.panic import find_panic

LOG = (Path(__file__).parents[1] / "data/logs/null-dereference-6.12.log").read_bytes()
TIME = "[  812.400000] "


@pytest.mark.parametrize(
    "line",
    [
        "Mar  3 11:22:33 edge7 kernel: [  812.400000] BUG: x",
        "2026-03-03T11:22:33.123456+01:00 edge7 kernel: [  812.400000] BUG: x",
        "<2>1 2026-03-03T11:22:33Z edge7 kernel - - - [  812.400000] BUG: x",
        "Mar  3 11:22:33 edge7 kern.alert kernel: [  812.400000] BUG: x",
        "Mar  3 11:22:33 10.0.0.5 [  812.400000] BUG: x",
        "Mar 03 11:22:33 [  812.400000] BUG: x",
        "[  812.400000] edge7 kernel: BUG: x",
        "[2026-03-03 11:22:33.123] [  812.400000] BUG: x",
        "kern  :alert : [  812.400000] BUG: x",
        "1,900,812400000,-;BUG: x",
        "6.1.112,6,900,812400000,-;BUG: x",
        "edge7 login: [  812.400000] BUG: x",
        "edge7 login: root[  812.400000] BUG: x",
        "root@edge7:~# echo c > /proc/sysrq-trigger[  812.400000] BUG: x",
        "[  OK  ] Started acme.service[  812.400000] BUG: x",
        "\x1b[32m[  812.400000] \x1b[0m\x1b[31mBUG: x\x1b[0m",
        "#033[32m[  812.400000] BUG: x#033[0m",
    ],
)
def test_a_line_with_the_kernels_time(line: str) -> None:
    assert unwrap(f"{line}\n".encode()) == f"{TIME}BUG: x\n"


@pytest.mark.parametrize(
    "line",
    [
        "Mar 03 11:22:33 edge7 kernel: BUG: x",
        "Mar 03 11:22:33.123456 edge7 kernel: BUG: x",
        "Mar 03 11:22:33 edge7 kernel: \x1b[0;1;31mBUG: x\x1b[0m",
        "Tue 2026-03-03 11:22:33 UTC edge7 kernel: BUG: x",
        "1772536953.123456 edge7 kernel: BUG: x",
        "[Tue Mar  3 11:22:33 2026] BUG: x",
        "kern  :alert : [Tue Mar  3 11:22:33 2026] BUG: x",
        "2026-03-03T11:22:33,123456+00:00 BUG: x",
        "[Mar 3 11:22] BUG: x",
        "[  +0.000011] BUG: x",
        "[  812.400000 <    0.000011>] BUG: x",
        "edge7 login: BUG: x",
    ],
)
def test_a_line_without_it(line: str) -> None:
    assert unwrap(f"{line}\n".encode()) == "BUG: x\n"


@pytest.mark.parametrize(
    "line",
    [
        "Mar  3 11:22:33 edge7 acme[12]: [  812.400000] BUG: x",
        "Mar  3 11:22:33 edge7 acme: Kernel panic - not syncing: quoted",
        "user  :info  : [  812.400000] BUG: x",
        "14,900,812400000,-;BUG: x",
        "[  812.400000] acme: said [  812.400011] BUG: x",
        "<6>[  812.400000] acme: said [  812.400011] BUG: x",
        "[drm] a driver's own mark",
        "[  812.400000] Comm: \x1b[31mred",
    ],
)
def test_what_a_program_said_and_what_the_kernel_printed_stays(line: str) -> None:
    assert unwrap(f"{line}\n".encode()) == f"{line}\n"


def test_a_record_of_dev_kmsg_keeps_its_time_and_its_caller() -> None:
    log = b"6,1,400,-;early\n6,2,1234567890123,-,caller=T12;late\n SUBSYSTEM=acme\n"
    assert unwrap(log) == "[    0.000400] early\n[1234567.890123] [T12] late\n SUBSYSTEM=acme\n"


@pytest.mark.parametrize(
    "carrier",
    [
        b"Mar  3 11:22:33 edge7 kernel: ",
        b"2026-03-03T11:22:33+0100 edge7 kernel: ",
        b"kern  :alert : ",
        b"[2026-03-03 11:22:33] ",
    ],
)
def test_a_crash_is_the_same_whatever_carried_its_log(carrier: bytes) -> None:
    carried = b"".join(carrier + line for line in LOG.splitlines(keepends=True))
    assert find_panic(carried) == find_panic(LOG)


def test_a_long_line_is_cut_and_the_next_one_is_read() -> None:
    log = b"a" * (3 * PIECE_BYTES) + b"\nMar  3 11:22:33 edge7 kernel: BUG: x\n"
    assert unwrap(log) == "a" * PIECE_BYTES + "\nBUG: x\n"


def test_a_report_far_from_the_end_is_found() -> None:
    log = LOG + b"[ 9999.000000] acme0: link up, and nothing else to tell\n" * (3 << 15)
    assert len(log) > 5 << 20
    panic = find_panic(log)
    assert panic is not None
    assert panic.cause is Cause.NULL_DEREFERENCE
    assert "BUG: kernel NULL pointer dereference" in panic.text[0]


@pytest.mark.parametrize(
    "filler", [(1 << 20) - size for size in (1, 500, 1000, 2000, len(LOG), len(LOG) + 9)]
)
def test_a_report_is_whole_wherever_the_parts_of_the_search_meet(filler: int) -> None:
    after = b"x" * 99 + b"\n"
    log = b"boot\n" + LOG + after * (filler // 100) + b"y" * (filler % 100)
    panic, alone = find_panic(log), find_panic(LOG)
    assert panic is not None
    assert alone is not None
    assert (panic.fingerprint, panic.text[: len(alone.text)]) == (alone.fingerprint, alone.text)


def test_of_two_crashes_the_later_counts_however_far_they_are_apart() -> None:
    later = b"[    9.000000] sysrq: Trigger a crash\n"
    panic = find_panic(LOG + b"[    1.000000] next boot\n" * (3 << 16) + later)
    assert panic is not None
    assert panic.cause is Cause.SYSRQ


@given(st.binary(max_size=400))
def test_any_bytes_are_unwrapped_and_no_line_grows_much(log: bytes) -> None:
    plain = unwrap(log)
    assert plain.count("\n") == decode(log).count("\n")
    assert len(plain) <= len(log) + 32 * (log.count(b"\n") + 1)
