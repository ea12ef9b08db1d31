"""The last word: the panic timeout as the kernel has it, and the thread that trio cannot hold up."""

import errno
import threading
import time
from pathlib import Path

import pytest

from kdumpd.host.reboot import DeadlineThread, panic_timeout_s, refusal


@pytest.mark.parametrize(
    ("text", "timeout_s"), [("0\n", 0), ("10\n", 10), ("-1\n", -1), ("x", None), ("", None)]
)
def test_the_panic_timeout(tmp_path: Path, text: str, timeout_s: int | None) -> None:
    (tmp_path / "panic").write_text(text)
    assert panic_timeout_s(str(tmp_path / "panic")) == timeout_s


def test_an_unreadable_panic_timeout_is_none(tmp_path: Path) -> None:
    assert panic_timeout_s(str(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.EPERM, "Operation not permitted (it takes CAP_SYS_BOOT)"),
        (errno.EBUSY, "Device or resource busy"),
    ],
)
def test_a_refusal_for_want_of_a_capability_names_it(code: int, text: str) -> None:
    assert refusal(code, "CAP_SYS_BOOT") == text


def test_the_deadline_acts_while_everything_else_hangs() -> None:
    acted = threading.Event()
    began = time.monotonic()
    DeadlineThread(0.05, acted.set)
    assert acted.wait(5)
    assert time.monotonic() - began >= 0.05


def test_a_moved_deadline_acts_at_its_new_time() -> None:
    acted = threading.Event()
    deadline = DeadlineThread(60, acted.set)
    deadline.move(0.05)
    assert acted.wait(5)


def test_a_later_deadline_is_waited_for() -> None:
    acted = threading.Event()
    deadline = DeadlineThread(0.1, acted.set)
    deadline.move(60)
    assert not acted.wait(0.3)
    deadline.close()


def test_no_deadline_can_become_one_again() -> None:
    acted = threading.Event()
    deadline = DeadlineThread(0.1, acted.set)
    deadline.move(None)
    assert not acted.wait(0.3)
    deadline.move(0.05)
    assert acted.wait(5)


def test_a_deadline_that_is_closed_ends_its_thread() -> None:
    deadline = DeadlineThread(60, lambda: None)
    thread = next(thread for thread in threading.enumerate() if thread.name == "kdumpd-deadline")
    deadline.close()
    thread.join(5)
    assert not thread.is_alive()


def test_an_act_that_fails_stays_in_its_thread() -> None:
    acted = threading.Event()

    def act() -> None:
        acted.set()
        raise OSError("refused")

    DeadlineThread(0, act)
    assert acted.wait(5)
