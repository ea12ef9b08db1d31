"""The panic text and its cause: a corpus of logs, hand-made cases, and any bytes at all."""

import string
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.dmesg.causes import Cause
from kdumpd.dmesg.lines import last_lines, safe_lines, tail
from kdumpd.dmesg.panic import TEXT_LINES, Panic, find_panic

LOGS = Path(__file__).parents[1] / "data" / "logs"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((LOGS / "expected.toml").read_text())
NAMES = sorted(path.stem for path in LOGS.glob("*.log"))

# Lines of which hypothesis puts logs together: what the parser looks for, whole and broken.
PIECES = [
    b"Kernel panic - not syncing: Fatal exception",
    b"Kernel panic - not syncing: hung_task: blocked tasks",
    b"Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
    b"Kernel panic - not syncing",
    b"BUG: kernel NULL pointer dereference, address: 0000000000000000",
    b"Oops: Oops: 0002 [#1] SMP",
    b"------------[ cut here ]------------",
    b"WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2",
    b"INFO: task a:b:12 blocked for more than 120 seconds.",
    b"watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]",
    b"rcu: INFO: rcu_preempt self-detected stall on CPU",
    b"sysrq: Trigger a crash",
    b"CPU: 1 UID: 0 PID: 412 Comm: insmod Kdump: loaded Tainted: G           OE      6.12.28-eve #1",
    b"CPU: 999999 PID: 9999999999 Comm: ",
    b"Pid: 3, comm: a Not tainted 2.6.32 #1",
    b"RIP: 0010:f+0x1/0x2 [m]",
    b"Call Trace:",
    b" <IRQ>",
    b" </IRQ>",
    b" ? guess+0x1/0x2",
    b" panic+0x1/0x2",
    b" frame.cold+0x1/0x2 [m]",
    b" asm_sysvec_apic_timer_interrupt+0x1/0x2",
    b"Modules linked in: a b(OE) [last unloaded: c]",
    b"---[ end trace 0000000000000000 ]---",
]
PREFIXES = [
    b"",
    b"<4>",
    b"[   12.345678] ",
    b"[   12.345678][  T123] ",
    b"[   12.345678][    C1] ",
    b"      ",
]
log_lines = st.tuples(st.sampled_from(PREFIXES), st.one_of(st.sampled_from(PIECES), st.binary(max_size=40)))
any_log = st.one_of(
    st.binary(max_size=600),
    st.lists(log_lines.map(b"".join), max_size=40).map(b"\n".join),
)


def read(name: str) -> bytes:
    return (LOGS / f"{name}.log").read_bytes()


def found(log: bytes) -> Panic:
    panic = find_panic(log)
    assert panic is not None
    return panic


def is_safe(line: str) -> bool:
    return set(line) <= set(string.printable) - set("\t\n\r\x0b\x0c") and len(line) <= 1024


def test_the_corpus_is_whole() -> None:
    assert len(NAMES) >= 25
    assert set(EXPECTED) == set(NAMES) - {"no-crash-6.12"}
    assert {Cause(wanted["cause"]) for wanted in EXPECTED.values()} == set(Cause) - {Cause.UNKNOWN}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_log_of_the_corpus(name: str) -> None:
    panic, wanted = found(read(name)), EXPECTED[name]
    for key in (
        "cause",
        "title",
        "symbol",
        "command",
        "pid",
        "cpu",
        "taint",
        "release",
        "fingerprint",
        "group",
        "group_title",
    ):
        assert getattr(panic, key) == wanted.get(key), key
    assert panic.modules[:4] == tuple(wanted["modules"])
    assert len(panic.modules) == wanted["module_count"]
    assert panic.frames[:5] == tuple(wanted["frames"])
    assert len(panic.frames) == wanted["frame_count"]
    assert (panic.text[0], panic.text[-1]) == (wanted["first_line"], wanted["last_line"])
    assert len(panic.text) == wanted["line_count"] <= TEXT_LINES


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_text_holds_title_and_trace_and_is_safe(name: str) -> None:
    panic = found(read(name))
    assert any(panic.title in line for line in panic.text)
    assert all(any(frame in line for line in panic.text) for frame in set(panic.frames))
    assert all(map(is_safe, panic.text))
    assert is_safe(panic.title)


@pytest.mark.parametrize("log", [b"", b"\n\n", read("no-crash-6.12")])
def test_a_log_without_a_crash(log: bytes) -> None:
    assert find_panic(log) is None


def test_the_trace_above_the_panic_line_is_kept() -> None:
    text = "\n".join(found(read("null-dereference-6.12-again")).text)
    assert (
        text.index("BUG: kernel NULL") < text.index("kdtest_init+") < text.index("Kernel panic - not syncing")
    )


def test_a_report_whose_start_is_lost_keeps_the_trace_above_the_panic_line() -> None:
    panic = found(read("truncated-front-6.12"))
    assert panic.frames[:2] == ("lost_report_function", "lost_caller")


def test_the_last_report_counts_not_one_that_was_survived() -> None:
    text = "\n".join(found(read("oops-after-survived-reports-6.6")).text)
    assert "tcp_v4_rcv" in text
    assert "first_oops" not in text
    assert "phy_error" not in text


def test_the_last_panic_line_counts_not_one_that_a_program_wrote() -> None:
    panic = found(b"Kernel panic - not syncing: written by a program\nCPU: 1\n" + read("sysrq-6.12"))
    assert (panic.cause, panic.command) == (Cause.SYSRQ, "sh")


def test_lines_of_another_cpu_are_shown_but_are_no_frames() -> None:
    panic = found(read("bug-interleaved-callers-6.11"))
    assert any("nvme0: I/O tag" in line for line in panic.text)
    assert "other_cpu_function" not in panic.frames
    assert panic.frames[1:3] == ("mempool_free", "bio_free")


def test_a_long_report_loses_its_middle_first() -> None:
    panic = found(read("oom-6.12"))
    assert "invoked oom-killer" in panic.text[0]
    assert any("Kernel panic - not syncing: Out of memory" in line for line in panic.text)
    assert any(" panic+0x" in line for line in panic.text)
    assert len(panic.text) == TEXT_LINES


def test_an_older_oops_of_another_task_did_not_kill_init() -> None:
    assert found(read("killed-init-after-old-oops-6.1")).cause is Cause.KILLED_INIT
    assert found(read("killed-init-by-oops-5.10")).cause is Cause.NULL_DEREFERENCE


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("BUG: unable to handle page fault for address: ffffa1c4a3e5d018", Cause.OOPS),
        ("BUG: unable to handle kernel NULL pointer dereference at (null)", Cause.NULL_DEREFERENCE),
        (
            "Oops: general protection fault, maybe for address 0x0: 0000 [#1] SMP",
            Cause.GENERAL_PROTECTION_FAULT,
        ),
        ("invalid opcode: 0000 [#1] SMP", Cause.OOPS),
        ("traps: PANIC: double fault, error_code: 0x0", Cause.OOPS),
        ("kernel BUG at mm/slub.c:305!", Cause.BUG),
        ("Internal error: Oops - BUG: 0 [#1] SMP", Cause.BUG),
        ("BUG: soft lockup - CPU#1 stuck for 22s! [a:1]", Cause.SOFT_LOCKUP),
        ("watchdog: Watchdog detected hard LOCKUP on cpu 3", Cause.HARD_LOCKUP),
        ("Watchdog detected hard LOCKUP on cpu 3", Cause.HARD_LOCKUP),
        ("INFO: rcu_sched detected stalls on CPUs/tasks: { 0}", Cause.RCU_STALL),
        ("INFO: task a:1 blocked in I/O wait for more than 10 seconds.", Cause.HUNG_TASK),
        ("SysRq : Trigger a crash", Cause.SYSRQ),
        ("Uhhuh. NMI received for unknown reason 3d on CPU 1.", Cause.NMI),
        ("mce: [Hardware Error]: CPU 2: Machine Check Exception: 5 Bank 0: be00", Cause.MACHINE_CHECK),
        (
            "Kernel panic - not syncing: Timeout: Not all CPUs entered broadcast exception handler",
            "machine-check",
        ),
        ("Kernel panic - not syncing: Fatal Machine check", Cause.MACHINE_CHECK),
        ("Kernel panic - not syncing: Out of memory and no killable processes...", Cause.OUT_OF_MEMORY),
        ("Kernel panic - not syncing: An NMI occurred, please see the log", Cause.NMI),
        ("Kernel panic - not syncing: Watchdog detected hard LOCKUP on cpu 0", Cause.HARD_LOCKUP),
        ("Kernel panic - not syncing: RCU Stall", Cause.RCU_STALL),
        ("Kernel panic - not syncing: KASAN: panic_on_warn set ...", Cause.WARNING),
        ("Kernel panic - not syncing: Aiee, killing interrupt handler!", Cause.OOPS),
        ("Kernel panic - not syncing: corrupted stack end detected inside scheduler", Cause.PANIC),
    ],
)
def test_one_line_tells_the_cause(line: str, cause: Cause) -> None:
    for prefix in PREFIXES:
        panic = found(b"[    1.000000] before\n" + prefix + line.encode() + b"\n")
        assert (panic.cause, panic.title) == (cause, line)


@pytest.mark.parametrize(
    "line",
    [
        "quoted: Kernel panic - not syncing: x",
        "see Oops: 0000 [#1]",
        "Oops: acme_rtc: cannot read the time",
        "overflow: of a program",
        "---[ end Kernel panic",
    ],
)
def test_a_report_starts_at_a_line_start(line: str) -> None:
    assert find_panic(f"[    1.000000] {line}\n".encode()) is None


def test_what_a_panic_was_announced_by_is_shown_with_it() -> None:
    announced = b"EXT4-fs error (device vda1): bad entry\nEXT4-fs (vda1): note\n"
    panic = found(
        b"boot\n" + announced + b"Kernel panic - not syncing: EXT4-fs (device vda1): panic forced\n"
    )
    assert panic.text[0].startswith("EXT4-fs error")
    assert len(panic.text) == 3


@given(any_log)
def test_any_bytes_are_read_and_what_is_shown_is_safe(log: bytes) -> None:
    panic = find_panic(log)
    shown = (*safe_lines(log), *last_lines(log, 5))
    if panic is not None:
        assert 0 < len(panic.text) <= TEXT_LINES
        assert panic.title
        assert len(panic.fingerprint) == 16
        words = (panic.symbol, panic.command, panic.taint, panic.release, *panic.modules, *panic.frames)
        shown = (*shown, *panic.text, panic.title, *filter(None, words))
    assert all(map(is_safe, shown))


@given(any_log, st.integers(min_value=0, max_value=700))
def test_tail_is_the_end_of_the_log_from_a_line_start(log: bytes, limit: int) -> None:
    starts = [0, *(place + 1 for place, byte in enumerate(log) if byte == ord("\n"))]
    fitting = [log[start:] for start in starts if 0 < len(log) - start <= limit]
    assert tail(log, limit) == (fitting[0] if fitting else log[max(len(log) - limit, 0) :])


def test_tail_of_700_kib_for_reboot_stack() -> None:
    log = b"".join(b"[%12d] a line of the log\n" % number for number in range(18000))
    part = tail(log, 524288)
    assert 524288 - 64 < len(part) <= 524288
    assert part.startswith(b"[ ")
    assert part.endswith(log[-50:])


@pytest.mark.parametrize(
    ("log", "limit", "wanted"),
    [
        (b"one\ntwo\n", 8, b"one\ntwo\n"),
        (b"one\ntwo\n", 7, b"two\n"),
        (b"one\ntwo\n", 4, b"two\n"),
        (b"one\ntwo\n", 3, b"wo\n"),
        (b"one\ntwo\nsix\n", 8, b"two\nsix\n"),
        (b"one\ntwo", 3, b"two"),
        (b"one\ntwo", 0, b""),
        (b"one\ntwo", -1, b""),
        (b"", 0, b""),
    ],
)
def test_tail(log: bytes, limit: int, wanted: bytes) -> None:
    assert tail(log, limit) == wanted


def test_safe_lines_show_what_a_terminal_would_obey() -> None:
    log = b"plain\n\x1b[2J\x9b31m\x07\tx\r\n\xe2\x80\xae\0\x7f\n\nend"
    assert safe_lines(log) == ("plain", r"\x1b[2J\x9b31m\x07       x", r"\xe2\x80\xae\x7f", "", "end")
    assert safe_lines(b"a" * 5000) == ("a" * 1024,)
    assert safe_lines(b"") == ()


def test_last_lines_leave_blank_ones_out() -> None:
    assert last_lines(b"one\n\ntwo\n  \nthree\n\n\n", 2) == ("two", "three")
    assert last_lines(b"one", 40) == ("one",)


@pytest.mark.parametrize(
    "unit",
    [
        b"\n",
        b"a\n",
        b" ",
        b"[",
        b"\0",
        b"\t",
        b"\xff",
        b"Oops: \n",
        b"BUG: \n",
        b"Tainted: ",
        b"Call Trace:\n",
        b" " * 64 + b"[#x: aaaa\n",
        b"Kernel panic - not syncing\n",
        b"mce: RIP RIP {",
        b"a invoked ",
        b"a: 0: ",
        b"[        ",
        b"RIP: 0010:[<0>] ",
    ],
)
def test_hostile_repetition_takes_linear_time(unit: bytes) -> None:
    log = b"Oops: 0000 [#1] SMP\n" + unit * ((512 << 10) // len(unit))
    start = time.monotonic()
    found(log)
    safe_lines(log)
    last_lines(log, 200)
    assert time.monotonic() - start < 5  # 0.2 s; minutes if it were quadratic
