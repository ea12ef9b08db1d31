"""The group: one for one fault, whoever called, whatever kernel it was."""

import pytest

from kdumpd.dmesg.panic import Panic, find_panic

ACCESS = "BUG: kernel NULL pointer dereference, address: 0"
GPF = "general protection fault: 0000 [#1] SMP"
STUCK = "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:7]"


def found(title: str, *frames: str) -> Panic:
    lines = [title, "CPU: 1 PID: 7 Comm: a Not tainted 6.1.0 #1", "Call Trace:"]
    lines += [f" {frame}+0x1/0x2" for frame in frames]
    panic = find_panic("\n".join(lines).encode())
    assert panic is not None
    return panic


@pytest.mark.parametrize(
    "frames", [("one", "other_caller"), ("one.cold",), ("one.isra.0",), ("one.llvm.123",), ("memcpy", "one")]
)
def test_callers_and_compilers_do_not_count(frames: tuple[str, ...]) -> None:
    panic = found(ACCESS, *frames)
    assert panic.group == found(ACCESS, "one", "caller").group
    assert panic.group_title == "bad access in one"


def test_a_bad_access_is_one_class() -> None:
    assert found(ACCESS, "one").group == found(GPF, "one").group
    assert found(ACCESS, "one").group != found("kernel BUG at a.c:1!", "one").group


def test_another_function_is_another_group() -> None:
    assert found(ACCESS, "one").group != found(ACCESS, "two").group


@pytest.mark.parametrize(
    "layer", ["__x64_sys_ioctl", "__do_sys_ioctl", "ksys_ioctl", "SyS_ioctl", "__arm64_sys_ioctl"]
)
def test_layers_of_a_system_call_are_one(layer: str) -> None:
    assert found(ACCESS, layer).group_title == "bad access in sys_ioctl"


def test_a_stall_is_told_by_the_function_that_loops() -> None:
    one = found(STUCK, "a", "loop", "process_one_work")
    other = found(STUCK, "b", "c", "loop", "process_one_work")
    assert one.group == other.group
    assert one.group_title == "stall in loop"
    assert one.fingerprint != other.fingerprint


def test_a_panic_without_a_trace_has_its_message() -> None:
    assert found("Kernel panic - not syncing: no 12 things").group_title == "panic: no # things"
