"""The lease on the hardware watchdog: petted only while work advances.

A watchdog that the system kernel started keeps ticking in the capture kernel; and where nothing did,
opening the device starts it. While work advances it is petted; when nothing has advanced for a while
petting stops, and the watchdog resets the machine even if this whole process hangs.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Final, NoReturn

import trio

_PET_EVERY_S: Final = 2.0


class Lease:
    """How long the watchdog may still be petted.

    Whoever makes progress renews; whoever knows of a bounded wait that shows no progress renews for
    that long. Times are of trio's clock, so a simulated clock works.
    """

    def __init__(self) -> None:
        self._until = -1.0

    def renew(self, seconds: float) -> None:
        """Let the watchdog be petted for at least so many seconds from now."""
        self._until = max(self._until, trio.current_time() + seconds)

    @property
    def valid(self) -> bool:
        """True while the watchdog may be petted."""
        return trio.current_time() < self._until


def open_watchdog(device: str) -> int:
    """Open the hardware watchdog, which starts it; every write to the descriptor pets it.

    Raises:
        OSError: there is none, or it is taken.
    """
    return os.open(device, os.O_WRONLY | os.O_CLOEXEC)


async def pet(
    device: str,
    lease: Lease,
    say: Callable[[str], None],
    *,
    open_device: Callable[[str], int] = open_watchdog,
) -> NoReturn:
    """Hold the watchdog and pet it while the lease is valid; a machine without one is fine.

    It never disarms the watchdog: on the way to a reboot, a watchdog that still runs is one more
    guarantee of it. Closing without the magic character ``V`` leaves it running
    (Documentation/watchdog/watchdog-api.rst).
    """
    fd = _open(device, say, open_device)
    try:
        while True:
            if fd is not None and lease.valid:
                with contextlib.suppress(OSError):
                    os.write(fd, b"\0")
            await trio.sleep(_PET_EVERY_S)
    finally:
        if fd is not None:
            os.close(fd)


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
