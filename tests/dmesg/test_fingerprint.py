"""The fingerprint: the same for the same fault on another day, another for another path."""

import re
import tomllib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from kdumpd.dmesg.causes import TRAITS, Cause
from kdumpd.dmesg.fingerprint import fingerprint, without_numbers
from kdumpd.dmesg.panic import Panic, find_panic

DATA = Path(__file__).parents[1] / "data"
LOGS = DATA / "logs"
KINDS = DATA / "kinds"
EXPECTED = tomllib.loads((LOGS / "expected.toml").read_text())
NAMES = sorted(EXPECTED)
# Those with a carrier's prefix are not changed: the changes are of the kernel's own lines.
ALL = NAMES + sorted(
    path.stem for path in KINDS.glob("*.log") if not path.stem.startswith(("prefix", "driver"))
)
FROM_OUTSIDE = {cause for cause in Cause if TRAITS[cause].culprit == "outside"}
WITH_PATH = [
    name for name in NAMES if "symbol" in EXPECTED[name] and EXPECTED[name]["cause"] not in FROM_OUTSIDE
]
SAME = [
    {"null-dereference-6.12", "null-dereference-6.12-again"},
    {"sysrq-6.12", "sysrq-6.12-again", "sysrq-6.1", "vm-sysrq-6.1", "vm-sysrq-6.1-again"},
    {"vm-null-dereference-6.1", "vm-null-dereference-6.1-again"},
    {"soft-lockup-6.12", "soft-lockup-6.12-again"},
]


def found(log: str) -> Panic:
    panic = find_panic(log.encode("latin-1"))
    assert panic is not None
    return panic


def read(name: str) -> str:
    folder = LOGS if name in EXPECTED else KINDS
    return (folder / f"{name}.log").read_text("latin-1")


def other_times(log: str) -> str:
    return re.sub(r"\[ *(\d+)\.(\d+)\]", lambda found: f"[{int(found[1]) + 5000:5}.{found[2]}]", log)


def other_addresses(log: str) -> str:
    # KASLR and the allocator: every 16-digit word that is not a small number.
    return re.sub(r"\b(?!0{8})[0-9a-f]{16}\b", "ffffdeadbeef1234", log)


def other_offsets(log: str) -> str:
    # but 0, which says that the function before it never returned
    return re.sub(r"\+0x(?!0/)[0-9a-f]+/0x[0-9a-f]+", "+0x77/0x99", log)


def other_cpu(log: str) -> str:
    named = r"(CPU: |CPU#|on cpu {1,4}|on CPU |backtrace for cpu |CPU |\{ ?|\t(?=\d+(?:-\S|: \()))(\d+)"
    return re.sub(named, lambda found: f"{found[1]}{int(found[2]) + 8}", log)


def other_pid(log: str) -> str:
    named = r"(PID: |Pid: |pid: ?|process |:|\bP| [DRI] {2,8}0 +)(\d{2,})(?=[\] ,/]|$)"
    return re.sub(named, lambda found: f"{found[1]}{int(found[2]) + 30000}", log, flags=re.MULTILINE)


def other_guesses(log: str) -> str:
    log = re.sub(r"^.{0,80} \? [\w.]+\+0x.*\n", "", log, flags=re.MULTILINE)
    guess = r"\1\2\n\1 ? stale_word_on_the_stack+0x1/0x2\n"
    return re.sub(r"^(.{0,40})(Call [Tt]race:)\n", guess, log, flags=re.MULTILINE)


def other_task(log: str) -> str:
    return re.sub(r"(Comm: |comm: )[\w/:.-]+", r"\1someone", log)


def level_and_caller(log: str) -> str:
    return re.sub(r"^(?:<\d>)?(\[ *\d+\.\d+\]) ", r"<4>\1[  T777] ", log, flags=re.MULTILINE)


def other_order_of_cpus(log: str) -> str:
    head, *traces = re.split(r"^(?=.{0,40}NMI backtrace for cpu)", log, flags=re.MULTILINE)
    return head + "".join(traces[-2::-1]) + "".join(traces[-1:])


def other_sizes(log: str) -> str:
    return re.sub(r"(\+0x[0-9a-f]+)/0x[0-9a-f]+", r"\1/0xfff", log)


def other_release(log: str) -> str:
    return re.sub(r"((?:Not tainted|Tainted: [A-Z ]+?) +)\d+\.\d+\.\d+\S*", r"\g<1>6.18.3-eve", log)


def other_hardware(log: str) -> str:
    return re.sub(r"Hardware name: .*", "Hardware name: Another Machine/X, BIOS 2", log)


def other_modules(log: str) -> str:
    return re.sub(r"Modules linked in:", "Modules linked in: another_module(O)", log)


def other_registers(log: str) -> str:
    return re.sub(r"\b(R[A-DS][XPI]|R\d\d|CR\d|x\d+ *): ?[0-9a-f]{16}", r"\1: 0000000000000042", log)


def other_code(log: str) -> str:
    return re.sub(r"Code: .*", "Code: 90 90 <0f> 0b 90", log)


def other_taint(log: str) -> str:
    return log.replace("Not tainted ", "Tainted: G        W         ")


def warning_before(log: str) -> str:
    lines = ["------------[ cut here ]------------", "WARNING: CPU: 0 PID: 9 at a.c:1 unrelated+0x1/0x2"]
    lines += ["CPU: 0 PID: 9 Comm: other Not tainted 6.1.0 #1", "Call Trace:", " unrelated_caller+0x1/0x2"]
    lines += ["---[ end trace 0000000000000000 ]---", "eth0: link up"]
    return "".join(f"[    0.000100] {line}\n" for line in lines) + log


def hung_before(log: str) -> str:
    lines = ["INFO: task other:9 blocked for more than 122 seconds.", "Call Trace:", " schedule+0x1/0x2"]
    lines += [" unrelated+0x1/0x2", "eth0: link up"]
    return "".join(f"[    0.000100] {line}\n" for line in lines) + log


def lines_after(log: str) -> str:
    return log.rstrip("\n") + "\n[99999.000000] eth0: link down\n[99999.000001] br0: left\n"


CHANGES = [
    other_order_of_cpus,
    other_sizes,
    other_release,
    other_hardware,
    other_modules,
    other_registers,
    other_code,
    other_taint,
    warning_before,
    hung_before,
    lines_after,
    other_times,
    other_addresses,
    other_offsets,
    other_cpu,
    other_pid,
    other_guesses,
    other_task,
    level_and_caller,
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_fault_on_another_day(change: Callable[[str], str]) -> None:
    differ = [name for name in ALL if prints(change(read(name))) != prints(read(name))]
    assert differ == []


def prints(log: str) -> tuple[str, str]:
    panic = found(log)
    return panic.fingerprint, panic.group


@pytest.mark.parametrize("change", CHANGES)
def test_the_changes_change_something(change: Callable[[str], str]) -> None:
    assert any(change(read(name)) != read(name) for name in NAMES)


@pytest.mark.parametrize("name", WITH_PATH)
def test_another_call_path_is_another_crash(name: str) -> None:
    panic = found(read(name))
    assert panic.symbol is not None
    other = re.sub(rf"\b{re.escape(panic.symbol)}\+", "elsewhere+", read(name))
    assert found(other).fingerprint != panic.fingerprint


def test_another_caller_is_another_crash() -> None:
    log = read("null-dereference-6.12")
    assert found(log.replace("do_one_initcall+", "other_caller+")).fingerprint != found(log).fingerprint


def test_logs_share_a_fingerprint_only_where_they_share_a_fault() -> None:
    marks = {name: found(read(name)).fingerprint for name in NAMES}
    shared = {frozenset(pair) for pair in combinations(NAMES, 2) if marks[pair[0]] == marks[pair[1]]}
    assert shared == {frozenset(pair) for group in SAME for pair in combinations(group, 2)}


def test_what_was_interrupted_is_no_part_of_a_fault_in_a_handler() -> None:
    log = read("oops-after-survived-reports-6.6")
    assert found(log.replace("do_idle", "do_syscall_64")).fingerprint == found(log).fingerprint


def test_what_was_interrupted_is_what_a_watchdog_reports() -> None:
    log = read("hard-lockup-3.10-panic-only")
    assert found(log.replace("load_monitor", "other_monitor")).fingerprint != found(log).fingerprint
    assert found(log.replace("perf_event_overflow", "x")).fingerprint == found(log).fingerprint


def test_what_ran_when_memory_ran_out_says_nothing() -> None:
    log = read("oom-deadlocked-5.15")
    assert found(log.replace("filemap_fault", "do_anonymous_page")).fingerprint == found(log).fingerprint


def test_recursion_of_another_depth_is_the_same() -> None:
    log = read("double-fault-6.1")
    line = next(line for line in log.splitlines(keepends=True) if " kdtest_recurse+" in line)
    assert found(log.replace(line, "")).fingerprint == found(log).fingerprint


def test_two_panics_of_one_path_differ_by_their_message() -> None:
    trace = "Call Trace:\n dump_stack_lvl+0x1/0x2\n panic+0x1/0x2\n shared+0x1/0x2\n"
    marks = {found(f"Kernel panic - not syncing: {text}\n{trace}").fingerprint for text in ("one", "two")}
    assert len(marks) == 2


def test_suffixes_of_a_compiler_do_not_count() -> None:
    assert fingerprint("oops", "", "a.cold", "b.isra.0") == fingerprint("oops", "", "a", "b")
    assert fingerprint("oops", "", "a") != fingerprint("bug", "", "a")
    assert fingerprint("oops", "", "a", "b") != fingerprint("oops", "", "b", "a")


def test_numbers_in_a_message_do_not_count() -> None:
    one = without_numbers("stack is corrupted in: ffffffff81deadbe on unknown-block(8,1) 0x1f")
    assert one == without_numbers("stack is corrupted in: ffffffffabcdefab on unknown-block(254,17) 0xa")
