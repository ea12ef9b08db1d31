"""What a fuzz target is, and what every one of them checks."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from attrs import frozen

from kdumpd.errors import KdumpError

_ERROR_CHARACTERS: Final = 1000


@frozen(kw_only=True)
class Target:
    """A parser under hostile input.

    Attributes:
        run: feeds one case to the parser; raises for whatever must not be.
        seeds: real inputs to start from, made when asked for.
        words: pieces of the format, to be put in anywhere.
        max_bytes: how long a case gets.
        cpu_s: how long a case may take. It is a few KiB and takes a millisecond; what takes a second does
            not grow linearly.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = ()
    max_bytes: int
    cpu_s: float = 1.0

    def try_case(self, case: bytes) -> None:
        """Run one case within its CPU time."""
        with _limited(self.cpu_s):
            self.run(case)


class SlowError(BaseException):
    """A case took too long. Not an Exception, so that no parser takes it for one of its own."""


@contextmanager
def refusal(*kinds: type[KdumpError]) -> Iterator[None]:
    """Accept these errors in the block, if their text is fit to be shown as it is."""
    try:
        yield
    except kinds as error:
        text = str(error)
        assert text.isprintable(), f"not one printable line: {text!r}"
        assert 0 < len(text) <= _ERROR_CHARACTERS, f"a text of {len(text)} characters"
        assert not text.endswith("."), text


def is_safe(text: str) -> bool:
    """Whether a terminal may be shown this text."""
    return text.isascii() and text.isprintable()


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    previous = signal.signal(signal.SIGPROF, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise SlowError("the case took too much CPU time")
