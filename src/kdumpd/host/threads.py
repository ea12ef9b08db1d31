"""Blocking calls in threads that can be left behind: one at a time, and nothing that they opened is lost.

A call on a disk that hangs never comes back, so whoever waits for it must be able to leave. The call goes on
in its thread all the same: what it opens then has no owner, and what it works on must not be closed under it.
Both are seen to here.
"""

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import trio

T = TypeVar("T")


class InThread(Protocol):
    """Makes a blocking call in a thread; a cancel leaves it behind."""

    async def __call__(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Make it."""


# When to look again whether a call that was left behind has come back; its thread can tell nobody.
_FIRST_LOOK_S: Final = 0.005
_LOOK_EVERY_S: Final = 0.25


class Worker:
    """Makes blocking calls in threads, one after the other.

    Args:
        in_thread: makes one: ``Machine.on_disk`` or ``Machine.compute``.
    """

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._last: _Errand[Any] | None = None

    @property
    def busy(self) -> bool:
        """True while a call is out, be it one that was left behind."""
        return self._last is not None and self._last.out

    async def run(
        self,
        call: Callable[..., T],
        *args: object,
        undo: Callable[[T], object] | None = None,
        **kwargs: object,
    ) -> T:
        """Make a call in a thread, once the one before it has come back. The caller bounds the wait.

        Args:
            call: what to do. Cancelled before it began, it is not done; cancelled later, it is left behind.
            *args: for the call.
            undo: lets go of what the call returned when nobody waits for it any more; in either thread.
            **kwargs: for the call.
        """
        await self.idle()
        errand = self._last = _Errand(partial(call, *args, **kwargs), undo)
        try:
            return await self._in_thread(errand.do)
        except BaseException:  # a cancel, or no thread could be had for it; not what the call raised
            errand.leave()
            raise

    async def idle(self) -> None:
        """Wait until no call is out. The caller bounds the wait."""
        pause_s = _FIRST_LOOK_S
        while self.busy:
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_EVERY_S)

    def afterwards(self, call: Callable[[], object]) -> None:
        """Make a call that does not block: now, or when the call that is out comes back."""
        if self._last is None or not self._last.followed_by(call):
            call()


class _Errand(Generic[T]):
    """One call, and what becomes of it when it is left behind."""

    def __init__(self, call: Callable[[], T], undo: Callable[[T], object] | None) -> None:
        self.out = True
        self._call = call
        self._undo = undo
        self._lock = threading.Lock()
        self._begun = False
        self._left = False
        self._result: list[T] = []
        self._next: list[Callable[[], object]] = []

    def do(self) -> T:
        """Make the call, in the thread."""
        with self._lock:
            if self._left:
                raise RuntimeError("the call was left before it began")
            self._begun = True
        try:
            result = self._call()
            self._result.append(result)
            return result
        finally:
            self._come_back()

    def leave(self) -> None:
        """Leave the call to itself; if it has not begun it never will."""
        with self._lock:
            self._left = True
            self.out = self.out and self._begun
        if not self.out:
            self._undo_result()

    def followed_by(self, call: Callable[[], object]) -> bool:
        """Make another call after this one; False when this one is over."""
        with self._lock:
            if self.out:
                self._next.append(call)
            return self.out

    def _come_back(self) -> None:
        with self._lock:
            self.out = False
        if self._left:
            self._undo_result()
        for call in self._next:
            call()

    def _undo_result(self) -> None:
        while self._undo and self._result:
            with contextlib.suppress(OSError):
                self._undo(self._result.pop())
