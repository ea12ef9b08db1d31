"""The hardware watchdog: petted only while some step of the run is within its allowance.

A watchdog that the system kernel started keeps ticking in the capture kernel; and where nothing did, opening
the device starts it. The run's clock says whether it may be petted: while a step is within its allowance it
is, also when nothing advances, such as while a disk pauses; when the allowance is spent petting stops, and
the watchdog resets the machine even if this whole process hangs. iTCO and i6300esb bite after 30 s.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Final, NoReturn

import trio

_PET_EVERY_S: Final = 2.0


def open_watchdog(device: str) -> int:
    """Open the hardware watchdog, which starts it; every write to the descriptor pets it.

    Raises:
        OSError: there is none, or it is taken.
    """
    return os.open(device, os.O_WRONLY | os.O_CLOEXEC)


async def pet(
    device: str,
    allowed: Callable[[], bool],
    say: Callable[[str], None],
    *,
    open_device: Callable[[str], int] = open_watchdog,
    keep_running: Callable[[], bool] = lambda: True,
) -> NoReturn:
    """Hold the watchdog and pet it while that is allowed; a machine without one is fine.

    Args:
        device: the device; empty is none.
        allowed: says whether it may be petted now.
        say: puts a line on the console.
        open_device: opens the device.
        keep_running: asked when this task is cancelled. On the way to a restart a watchdog that still runs is
            one more guarantee of it; where the machine goes on, the magic character ``V`` stops it
            (Documentation/watchdog/watchdog-api.rst).
    """
    fd = _open(device, say, open_device)
    try:
        while True:
            if fd is not None and allowed():
                _write(fd, b"\0")
            await trio.sleep(_PET_EVERY_S)
    finally:
        if fd is not None:
            if not keep_running():
                _write(fd, b"V")
            os.close(fd)


def _write(fd: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(fd, data)


def _open(device: str, say: Callable[[str], None], open_device: Callable[[str], int]) -> int | None:
    if not device:
        return None
    try:
        return open_device(device)
    except FileNotFoundError:
        return None
    except OSError as error:
        say(f"watchdog {device} cannot be opened ({error.strerror}): going on without it")
        return None
