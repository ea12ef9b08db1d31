"""Every way in which the crashed kernel's memory and log can be bad; read through FUSE, with real errors."""

import re
import subprocess
import time

import pytest

from .crash import STACK_BYTES, FaultRun
from .faulty import FaultyFile

pytestmark = pytest.mark.system

fault = pytest.mark.fault


def offset_of(vmcore: FaultyFile, text: bytes) -> int:
    """Where a text stands in the first MiB, which holds the ELF headers and notes."""
    with vmcore.path.open("rb") as file:
        found = re.search(re.escape(text), file.read(1 << 20))
    assert found is not None
    return found.start()


@fault("none, through FUSE", "the vmcore is read as in the next rows, with nothing wrong")
def test_nothing_wrong_through_fuse(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    crash.run()
    crash.assert_collected("dump")


@fault("VMCOREINFO is missing", "the ELF note has another name")
def test_no_vmcoreinfo(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    faulty_vmcore.patches = {offset_of(faulty_vmcore, b"VMCOREINFO\0"): b"XMCOREINFO"}
    before = int(time.time())
    ran = crash.run()
    assert f"{faulty_vmcore.path}: no VMCOREINFO note" in ran.console
    assert before <= (crash.persist / "boot-reason").stat().st_mtime <= time.time()
    crash.expect_no_log()
    crash.assert_reason(
        "kernel panic, nothing collected: "
        "makedumpfile --dump-dmesg ended with exit code 1: dump_dmesg: Can't find some symbols for log_buf.; "
        "vmcore-dmesg ended with exit code 50: Missing the log_buf symbol; "
        "makedumpfile ended with exit code 1\n"
    )


@fault("the vmcore is truncated", "it ends in the middle")
def test_truncated(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    faulty_vmcore.size_bytes //= 2
    crash.run()
    crash.take_log_of_vmcore_dmesg()
    why = "makedumpfile ended with exit code 1: get_mm_sparsemem: Can't get the address of mem_section."
    crash.assert_collected("log", why)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        pytest.param("file", None, marks=fault("the vmcore is empty", "a file of no byte")),
        pytest.param(
            "folder", "Is a directory", marks=fault("the vmcore is a folder", "`vmcore.path` names one")
        ),
        pytest.param(
            "faulty", "Input/output error", marks=fault("the vmcore is unreadable", "EIO everywhere")
        ),
    ],
)
def test_no_vmcore(crash: FaultRun, faulty_vmcore: FaultyFile, kind: str, why: str | None) -> None:
    crash.mount()
    faulty_vmcore.dead = True
    path = {"file": crash.folder / "empty", "folder": crash.meeting, "faulty": faulty_vmcore.path}[kind]
    (crash.folder / "empty").touch()
    crash.configure("vmcore", path=str(path))
    crash.run()
    crash.expect_no_log()
    # makedumpfile shows an old errno, any text, where there was no error but no byte either.
    said = f"ended with exit code 1: check_elf_format: Can't read {path}. {why or '.*'}"
    assert re.fullmatch(
        f"kernel panic, nothing collected: makedumpfile --dump-dmesg {said}; "
        "vmcore-dmesg ended with exit code 3: Unable to read ELF information from vmcore; "
        f"makedumpfile {said}\n",
        crash.reason or "",
    )
    crash.assert_true()


def reads(vmcore: FaultyFile) -> list[int]:
    """Where makedumpfile reads, from first to last."""
    vmcore.asked.clear()
    command = ["makedumpfile", "-F", "-l", "-d", "31", str(vmcore.path)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return vmcore.asked.copy()


# Without the page report, which also needs every page, privacy cannot be judged and the dump is not kept.
@fault("a page is unreadable", "EIO for one page that a dump reads late")
def test_unreadable_page(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    page = reads(faulty_vmcore)[-50]
    faulty_vmcore.unreadable = range(page, page + 1)
    crash.run()
    why = "makedumpfile was killed by signal 7; it is not known which pages were excluded"
    crash.assert_collected("log", why)


@fault("a page is unreadable, and storage is slow", "the same; storage appears when the pages were counted")
def test_unreadable_page_with_slow_storage(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    page = reads(faulty_vmcore)[-50]
    running = crash.start()
    running.wait_for_line("is not mounted")
    time.sleep(3)
    faulty_vmcore.unreadable = range(page, page + 1)
    crash.mount()
    crash.finish(running)
    crash.assert_collected("part", "makedumpfile was killed by signal 7")


@fault("memory turns unreadable", "EIO for all of it, after 24 MiB")
def test_unreadable_in_the_middle(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    faulty_vmcore.unreadable = range(1 << 20, faulty_vmcore.size_bytes)
    crash.go_on()
    crash.finish(running)
    why = "makedumpfile was killed by signal 7; it is not known which pages were excluded"
    crash.assert_collected("log", why)


@fault("reading memory hangs", "no answer after 24 MiB, not even to SIGKILL; `dump.stall_s` is 2")
def test_hangs_in_the_middle(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    crash.configure("dump", stall_s=2)
    running = crash.start_to_the_middle()
    faulty_vmcore.stuck = range(1 << 20, faulty_vmcore.size_bytes)
    crash.go_on()
    crash.finish(running)
    crash.assert_collected("log", "no progress for 2 s; it is not known which pages were excluded")


@fault(
    "reading memory hangs, and storage is slow",
    "no answer after 24 MiB; storage appears when the pages were counted; `dump.stall_s` is 2",
)
def test_hangs_in_the_middle_with_slow_storage(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    """The pages that are added to a cut dump cannot be read either; that must not cost the dump."""
    crash.stand_in("pause_in_the_middle")
    crash.configure("dump", stall_s=2)
    running = crash.start()
    running.wait_for_line("is not mounted")
    time.sleep(3)
    crash.mount()
    running.wait_for((crash.meeting / "half").exists)
    faulty_vmcore.stuck = range(1 << 20, faulty_vmcore.size_bytes)
    crash.go_on()
    ran = crash.finish(running, within_s=20)
    assert ran.seconds < 18
    crash.assert_collected("part", "no progress for 2 s")


@fault("the vmcore hangs from its first byte", "no answer at all; `budget.total_s` is 7, `dump.stall_s` 2")
def test_hangs_at_once(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    faulty_vmcore.stuck = range(faulty_vmcore.size_bytes)
    crash.configure("budget", total_s=7)
    crash.configure("dump", stall_s=2)
    ran = crash.run()
    faulty_vmcore.remove()
    assert f"kdumpd: {faulty_vmcore.path}: reading it hangs" in ran.console
    crash.expect_no_log()
    assert crash.reason == "kernel panic, nothing collected: total budget of 7 s ran out\n"
    crash.assert_true()


@fault("the log is absent", "VMCOREINFO does not say where it is")
def test_no_log(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    faulty_vmcore.patches = {offset_of(faulty_vmcore, b"SYMBOL(prb)="): b"SYMBOX"}
    ran = crash.run()
    assert "no log could be read" in ran.console
    crash.expect_no_log(crash.crash_time_s)
    crash.assert_reason(crash.line(None, kept="dump"))


@fault("the clock was at 1970", "VMCOREINFO's CRASHTIME is 42")
def test_clock_at_1970(crash: FaultRun, faulty_vmcore: FaultyFile) -> None:
    crash.mount()
    for day in range(1, 5):
        crash.leave_older({f"kcrashes/kdump-1970010{day}T000001Z.dump": b"x"})
    offset = offset_of(faulty_vmcore, f"CRASHTIME={crash.crash_time_s}\n".encode())
    faulty_vmcore.patches = {offset: f"CRASHTIME={42:0{len(str(crash.crash_time_s))}}\n".encode()}
    crash.crash_time_s, crash.stamp = 42, "19700101T000042Z"
    crash.run()
    crash.forget_older("kcrashes/kdump-19700101T000001Z.dump")
    crash.assert_collected("dump")


def give_log(crash: FaultRun, log: bytes) -> None:
    crash.stand_in("other_log")
    (crash.meeting / "log").write_bytes(log)
    crash.log = log


@fault("a log of 700 KiB", "more than EVE reads of reboot-stack")
def test_long_log(crash: FaultRun) -> None:
    crash.mount()
    line = b"[%12d.000000] a line of a log that is longer than it may be\n"
    give_log(crash, b"".join(line % number for number in range(9000))[: 700 << 10])
    crash.run()
    crash.assert_collected("dump")
    stack = (crash.persist / "reboot-stack").read_bytes()
    assert STACK_BYTES - 100 < len(stack) <= STACK_BYTES
    assert stack.startswith(b"[")


@fault("a log of 4 MiB", "with the panic at its end")
def test_log_of_4_mib(crash: FaultRun) -> None:
    crash.mount()
    give_log(crash, (b"[   12.345678] noise\n" * (1 << 18))[: 4 << 20] + b"\n" + crash.log)
    ran = crash.run()
    crash.assert_collected("dump")
    assert "sysrq triggered crash" in ran.console


@fault(
    "a log that attacks terminals",
    "NULs, escape sequences, invalid UTF-8, carriage returns in the panic text",
)
def test_hostile_log(crash: FaultRun) -> None:
    crash.mount()
    evil = b"\x1b[2J\x1b]0;owned\x07\x00\xff\xfe\x80\r\x9b31m\xe2\x80\xae"
    give_log(crash, crash.log.replace(b"Call Trace:", b"Call Trace:" + evil))
    ran = crash.run()
    crash.assert_collected("dump")
    assert crash.dmesg.read_bytes() == crash.log
    shown = (crash.folder / "console").read_bytes()
    assert not [byte for byte in shown if byte not in b"\n" and not 0x20 <= byte < 0x7F]
    assert "Call Trace:\\x1b[2J\\x1b]0;owned" in ran.console


@fault("a log without a line end", "1 MiB of one byte")
def test_log_without_lines(crash: FaultRun) -> None:
    crash.mount()
    give_log(crash, b"A" * (1 << 20))
    crash.run()
    assert crash.reason == crash.line(None, kept="dump")
    assert (crash.persist / "reboot-stack").read_bytes() == b"A" * STACK_BYTES


@fault("a log of no byte", "makedumpfile writes an empty one; vmcore-dmesg has it")
def test_empty_log(crash: FaultRun) -> None:
    crash.mount()
    log = crash.log
    give_log(crash, b"")
    crash.run()
    crash.log = crash.dmesg.read_bytes()
    assert log[-100:] == crash.log[-100:]
    crash.assert_collected("dump")
