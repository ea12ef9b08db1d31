"""The last word: sync, unmount, restart; and the deadline thread that has it when nothing else does."""

import contextlib
import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from kdumpd.host.folder import read_small

# sys/mount.h and linux/reboot.h
_MS_RDONLY: Final = 1
_MS_REMOUNT: Final = 32
_RB_AUTOBOOT: Final = 0x01234567

_SYSRQ: Final = "/proc/sysrq-trigger"


def panic_timeout_s(path: str) -> int | None:
    """The kernel's ``panic`` setting in seconds: 0 is for ever, below 0 not at all; None if unreadable."""
    text = read_small(path)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def sync_file_systems() -> None:
    """Write out every file system. Can hang with a disk; run it where it can be abandoned."""
    os.sync()


def make_clean(mountpoint: str) -> str | None:
    """Leave a file system clean: read-only first, which also works through a bind mount, then unmounted.

    EVE's next boot formats persist when its check says anything but "clean". Where somebody in another mount
    namespace writes to it, as the host of a container may, a bind mount can be unmounted and nothing is won:
    the file system stays as writable as it was.

    Returns:
        Why it could not be made read-only and where it stays, or None: it is clean.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    target = os.fsencode(mountpoint)
    flags = ctypes.c_ulong(_MS_REMOUNT | _MS_RDONLY)
    failed = libc.mount(None, target, None, flags, None)
    trouble = refusal(ctypes.get_errno(), "CAP_SYS_ADMIN") if failed else None
    unmounted = libc.umount2(target, 0) == 0
    if trouble and unmounted:
        return f"{trouble}; it is unmounted here and stays writable elsewhere"
    return trouble


def refusal(code: int, capability: str) -> str:
    """What an errno says; where that is "not permitted", with the capability (capabilities(7)) it takes."""
    text = os.strerror(code)
    return f"{text} (it takes {capability})" if code == errno.EPERM else text


def restart(method: str) -> str:
    """Restart the machine, by the asked method and, when it returns, by the other one.

    Returns:
        Why neither worked; on success there is nobody to return to.
    """
    ways = [_by_sysrq, _by_syscall] if method == "sysrq" else [_by_syscall, _by_sysrq]
    return "; ".join(way() for way in ways)


def _by_sysrq() -> str:
    try:
        # Unbuffered and in one write: `b` resets without syncing, from any state.
        fd = os.open(_SYSRQ, os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"b")
    except OSError as error:
        return f"{_SYSRQ}: {error.strerror}"
    time.sleep(1)
    return f"{_SYSRQ} had no effect"


def _by_syscall() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.reboot(ctypes.c_int(_RB_AUTOBOOT))
    return f"reboot(2): {refusal(ctypes.get_errno(), 'CAP_SYS_BOOT')}"


class DeadlineThread:
    """Acts at a deadline whatever the event loop does: a plain thread outside trio.

    Args:
        seconds: how long from now.
        act: what to do then; normally to restart the machine.
    """

    def __init__(self, seconds: float, act: Callable[[], object]) -> None:
        self._at = time.monotonic() + seconds
        self._closed = False
        self._changed = threading.Condition()
        self._act = act
        self._thread = threading.Thread(target=self._wait, name="kdumpd-deadline", daemon=True)
        self._thread.start()

    def move(self, seconds: float | None) -> None:
        """Set a new deadline, so many seconds from now; None is never, until it is moved again."""
        with self._changed:
            self._at = time.monotonic() + (threading.TIMEOUT_MAX if seconds is None else seconds)
            self._changed.notify()

    def close(self) -> None:
        """Let it never act any more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _wait(self) -> None:
        with self._changed:
            while not self._closed and (left_s := self._at - time.monotonic()) > 0:
                self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
            if self._closed:
                return
        with contextlib.suppress(Exception):
            self._act()
