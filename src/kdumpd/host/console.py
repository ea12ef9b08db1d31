"""Lines to slow terminals: the panic text paced, kdumpd's own lines between them, and nobody waits.

Each target has a task of its own, so that one that blocks or is missing holds up no other. A line is one
open, one write and one close, in a thread: `/dev/kmsg` is rate-limited for each open file, and a
terminal can block for ever.
"""

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NoReturn

import trio

_LINE_BYTES: Final = 900  # /dev/kmsg refuses records over 1024 bytes (kernel/printk/printk.c, devkmsg_write)
_MAX_URGENT: Final = 64
_KMSG: Final = "/dev/kmsg"
_KMSG_LEVEL: Final = b"<2>"

WriteLine = Callable[[str, str], Awaitable[None]]


class Console:
    """All targets together.

    A target that blocks is waited for by nobody; when it takes lines again it gets those that wait. One that
    refuses a line is tried again with the next.

    Args:
        targets: paths of terminals, log devices or files.
        write: writes one line to one target and may block; ``Machine.write_line``.
        line_delay_s: the pause after each line of the panic text, for whoever films the screen.
        blocks_s: how long a line may take until the target counts as blocked.

    Attributes:
        lost: targets that lost lines or block now, with the reason.
    """

    def __init__(
        self, targets: Iterable[str], *, write: WriteLine, line_delay_s: float, blocks_s: float = 5.0
    ) -> None:
        self.lost: dict[str, str] = {}
        self._targets = [_Target(path, write, line_delay_s, blocks_s, self.lost) for path in targets]

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
        """Wait until every line is out, on each target that does not block. The caller bounds it."""
        for target in self._targets:
            await target.idle.wait()

    async def run(self) -> None:
        """Write the lines, until cancelled."""
        async with trio.open_nursery() as nursery:
            for target in self._targets:
                nursery.start_soon(target.serve)


class _Target:
    def __init__(
        self, path: str, write: WriteLine, line_delay_s: float, blocks_s: float, lost: dict[str, str]
    ) -> None:
        self.idle = trio.Event()
        self._path = path
        self._urgent: deque[str] = deque(maxlen=_MAX_URGENT)
        self._paced: deque[str] = deque()
        self._changed = trio.Event()
        self._write = write
        self._line_delay_s = line_delay_s
        self._blocks_s = blocks_s
        self._lost = lost
        self._next_paced = float("-inf")
        self._blocked = False

    def add(self, *, urgent: Iterable[str] = (), paced: Iterable[str] = ()) -> None:
        """Queue lines."""
        self._urgent.extend(urgent)
        self._paced.extend(paced)
        if not self._blocked:
            self.idle = trio.Event()
        self._changed.set()

    async def serve(self) -> NoReturn:
        """Write the lines as they come, until cancelled."""
        while True:
            line = await self._next_line()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                await self._try_write(line)
                nursery.cancel_scope.cancel()

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

    async def _watch(self) -> None:
        """Let nobody wait for a line that takes long."""
        await trio.sleep(self._blocks_s)
        self._blocked = True
        self._lost[self._path] = f"blocked for {self._blocks_s:g} s"
        self.idle.set()

    async def _try_write(self, line: str) -> None:
        try:
            await self._write(self._path, line)
        except OSError as error:
            self._lost[self._path] = error.strerror or str(error)
            self._paced.clear()  # a text with holes in it, at a pace that nobody can see, helps nobody
        if self._blocked:
            self._blocked = False
            self.idle = trio.Event()


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
