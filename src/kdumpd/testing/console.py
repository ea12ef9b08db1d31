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
        self._blocked: dict[str, trio.Event] = {}
        self._errors: dict[str, int] = {}

    def lines(self, target: str = "/dev/console") -> list[str]:
        """The lines that a target was given, in order."""
        return [line.text for line in self.written if line.target == target]

    def block(self, target: str = "/dev/console") -> None:
        """Let every further write to a target wait until ``mend``."""
        self._blocked[target] = trio.Event()

    def fail(self, target: str = "/dev/console", error: int = errno.ENOENT) -> None:
        """Let every further write to a target fail, by default as if it were not there."""
        self._errors[target] = error

    def mend(self, target: str = "/dev/console") -> None:
        """Let a target take lines again, those too that wait."""
        self._errors.pop(target, None)
        if target in self._blocked:
            self._blocked.pop(target).set()

    async def write_line(self, target: str, line: str) -> None:
        """Record one line."""
        await trio.lowlevel.checkpoint()
        if target in self._errors:
            raise OSError(self._errors[target], os.strerror(self._errors[target]))
        if target in self._blocked:
            await self._blocked[target].wait()
        self.written.append(ConsoleLine(at_s=trio.current_time(), target=target, text=line))
