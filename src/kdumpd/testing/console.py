"""The simulated console: it records what is written, and blocks or is missing on request."""

import errno
import os

import trio
from attrs import frozen


@frozen(kw_only=True)
class ConsoleLine:
    """A line that was written to a console target, and when, in trio's time."""

    at_s: float
    target: str
    text: str


class SimulatedConsole:
    """All console targets of a simulated machine; a target that was never named is there and works.

    Attributes:
        written: every line so far.
    """

    def __init__(self) -> None:
        self.written: list[ConsoleLine] = []
        self._blocked: set[str] = set()
        self._errors: dict[str, int] = {}

    def lines(self, target: str = "/dev/console") -> list[str]:
        """The lines that a target was given, in order."""
        return [line.text for line in self.written if line.target == target]

    def block(self, target: str = "/dev/console") -> None:
        """Let every further write to a target wait for ever."""
        self._blocked.add(target)

    def fail(self, target: str = "/dev/console", error: int = errno.ENOENT) -> None:
        """Let every further write to a target fail, by default as if it were not there."""
        self._errors[target] = error

    async def write_line(self, target: str, line: str) -> None:
        """Record one line."""
        await trio.lowlevel.checkpoint()
        if target in self._errors:
            raise OSError(self._errors[target], os.strerror(self._errors[target]))
        if target in self._blocked:
            await trio.sleep_forever()
        self.written.append(ConsoleLine(at_s=trio.current_time(), target=target, text=line))
