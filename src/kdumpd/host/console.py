"""Lines to slow terminals: the panic text paced, kdumpd's own lines between them, and nobody waits.

Each target has a task of its own, so that one that blocks or is missing holds up no other. A line is one
open, one write and one close, in a thread: `/dev/kmsg` is rate-limited for each open file, and a
terminal can block for ever.
"""

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import trio

_WRITE_S: Final = 5.0
_LINE_BYTES: Final = 900  # /dev/kmsg refuses records over 1024 bytes (kernel/printk/printk.c, devkmsg_write)
_MAX_URGENT: Final = 64
_KMSG: Final = "/dev/kmsg"
_KMSG_LEVEL: Final = b"<2>"

WriteLine = Callable[[str, str], Awaitable[None]]


class Console:
    """All targets together.

    Args:
        targets: paths of terminals, log devices or files.
        write: writes one line to one target and may block; ``Machine.write_line``.
        line_delay_s: the pause after each line of the panic text, for whoever films the screen.

    Attributes:
        lost: targets that failed, with the reason; they get no more lines.
    """

    def __init__(self, targets: Iterable[str], *, write: WriteLine, line_delay_s: float) -> None:
        self.lost: dict[str, str] = {}
        self._targets = [_Target(path, write, line_delay_s) for path in targets]

    def say(self, text: str) -> None:
        """Put one line of kdumpd's own on every target, ahead of paced lines; never waits."""
        for target in self._targets:
            target.add(urgent=[f"kdumpd: {text}"])

    def show(self, lines: Iterable[str]) -> None:
        """Put lines on every target at the console's pace; never waits."""
        shown = tuple(lines)
        for target in self._targets:
            target.add(paced=shown)

    async def drain(self) -> None:
        """Wait until every line is out, on each target that is not lost. The caller bounds it."""
        for target in self._targets:
            await target.idle.wait()

    async def run(self) -> None:
        """Write the lines, until cancelled."""
        async with trio.open_nursery() as nursery:
            for target in self._targets:
                nursery.start_soon(self._serve, target)

    async def _serve(self, target: "_Target") -> None:
        self.lost[target.path] = await target.serve()
        target.lose()


class _Target:
    def __init__(self, path: str, write: WriteLine, line_delay_s: float) -> None:
        self.path = path
        self._urgent: deque[str] = deque(maxlen=_MAX_URGENT)
        self._paced: deque[str] = deque()
        self.idle = trio.Event()
        self._changed = trio.Event()
        self._write = write
        self._line_delay_s = line_delay_s
        self._next_paced = float("-inf")
        self._lost = False

    def add(self, *, urgent: Iterable[str] = (), paced: Iterable[str] = ()) -> None:
        """Queue lines; none once the target is lost."""
        if self._lost:
            return
        self._urgent.extend(urgent)
        self._paced.extend(paced)
        self.idle = trio.Event()
        self._changed.set()

    def lose(self) -> None:
        """Take no more lines, and let nobody wait for those that are queued."""
        self._lost = True
        self.idle.set()

    async def serve(self) -> str:
        """Write until the target fails; returns why."""
        while True:
            line = await self._next_line()
            why = await self._try_write(line)
            if why is not None:
                return why

    async def _next_line(self) -> str:
        while True:
            if self._urgent:
                return self._urgent.popleft()
            if not self._paced:
                self.idle.set()
            if self._paced and trio.current_time() >= self._next_paced:
                self._next_paced = trio.current_time() + self._line_delay_s
                return self._paced.popleft()
            self._changed = trio.Event()
            with trio.move_on_at(self._next_paced if self._paced else float("inf")):
                await self._changed.wait()

    async def _try_write(self, line: str) -> str | None:
        try:
            with trio.fail_after(_WRITE_S):
                await self._write(self.path, line)
        except trio.TooSlowError:
            return f"blocked for {_WRITE_S:.0f} s"
        except OSError as error:
            return error.strerror or str(error)
        return None


def write_line(path: str, text: str) -> None:
    """Write one line to a terminal, a log device or a file. It may block; it creates nothing.

    Raises:
        OSError: the target is missing or refuses.
    """
    line = text.encode("utf-8", "replace")[:_LINE_BYTES]
    data = _KMSG_LEVEL + line if path == _KMSG else line + b"\n"
    # A serial line without a carrier blocks in open(2) itself unless asked not to.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.set_blocking(fd, True)
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
