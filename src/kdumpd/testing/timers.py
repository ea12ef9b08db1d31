"""What watches over a run on a simulated machine: the deadline and the hardware watchdog, in trio's time."""

import os
from collections.abc import Callable

import trio


class SimulatedDeadline:
    """The deadline of a run. It acts when its time has come, as the thread on a real machine does.

    Args:
        seconds: how long from now.
        act: what to do then.

    Attributes:
        at_s: when it acts, in trio's time; infinity is never.
        acted: its time came.
    """

    def __init__(self, seconds: float, act: Callable[[], object]) -> None:
        self.at_s = trio.current_time() + seconds
        self.acted = False
        self._closed = False
        self._act = act
        self._moved = trio.Event()
        # It is outside the run that it watches, and must not end with it.
        trio.lowlevel.spawn_system_task(self._wait, name="simulated deadline")

    @property
    def armed(self) -> bool:
        """True while it may still act."""
        return not (self.acted or self._closed)

    def move(self, seconds: float | None) -> None:
        """Set it to so many seconds from now; None is never, until it is moved again."""
        self.at_s = float("inf") if seconds is None else trio.current_time() + seconds
        self._moved.set()

    def close(self) -> None:
        """Let it never act any more."""
        self._closed = True
        self._moved.set()

    async def _wait(self) -> None:
        while self.armed:
            self._moved = trio.Event()
            with trio.move_on_at(self.at_s) as wait:
                await self._moved.wait()
            if wait.cancelled_caught and self.armed:
                self.acted = True
                self._act()


class SimulatedWatchdog:
    """A hardware watchdog that counts how often it was petted and never bites."""

    def __init__(self) -> None:
        self._memory = os.memfd_create("watchdog", os.MFD_CLOEXEC)

    @property
    def pets(self) -> int:
        """How often it was petted."""
        return os.fstat(self._memory).st_size

    def open(self) -> int:
        """A new descriptor to pet it by."""
        return os.open(f"/proc/self/fd/{self._memory}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._memory)
