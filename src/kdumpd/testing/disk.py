"""The simulated disk: real files in a folder of the test, with the troubles of a real disk on request."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import trio
from attrs import frozen

from kdumpd.host.folder import Folder, NewFile, Space

T = TypeVar("T")

_GIB: Final = 1 << 30


class _HangingCall(Generic[T]):
    """A call in a thread that hangs where it touches the disk while that hangs.

    The thread is a real one, so that the call is as much on its way as one that hangs in the kernel. It
    runs alone: who wakes it waits until it is done, and virtual time has nothing to overtake.
    """

    _here = threading.local()

    def __init__(self, call: Callable[[], T]) -> None:
        self.back = trio.Event()
        self._call = call
        self._done: Future[T] = Future()
        self._gate = threading.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._run, name="simulated disk", daemon=True)
        self._touched = threading.Event()
        self._thread.start()
        self._touched.wait()

    @classmethod
    def hang_here(cls) -> None:
        """Hang until woken, if this is such a thread."""
        call: _HangingCall[Any] | None = getattr(cls._here, "call", None)
        if call is not None:
            call._touched.set()
            call._gate.wait()

    def wake(self) -> None:
        """Let the call go on, to its end."""
        self._gate.set()
        self._thread.join()

    def result(self) -> T:
        """What the call returned, once it is back; or raise what it raised."""
        return self._done.result(timeout=0)

    def _run(self) -> None:
        self._here.call = self
        try:
            self._done.set_result(self._call())
        except Exception as error:
            self._done.set_exception(error)
        self._touched.set()  # it may never have touched the disk
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.back.set)


class SimulatedDisk:
    """What stands behind every mount of a simulated machine.

    Args:
        directory: where the files are.

    Attributes:
        total_bytes: how large the volume is.
        foreign_bytes: how much of it something else takes; see ``fill``.
        slow_s: how long each call on it takes, in trio's time.
        touches: how often calls have touched it so far.
    """

    def __init__(self, directory: Path, *, total_bytes: int = 64 * _GIB) -> None:
        self.total_bytes = total_bytes
        self.foreign_bytes = 0
        self.slow_s = 0.0
        self._directory = directory
        self._error: int | None = None
        self._error_after_bytes: float = 0
        self._freeze_after_bytes: float = float("inf")
        self._freeze_after_touches: float = float("inf")
        self._frozen = False
        self.touches = 0
        self._hanging: list[_HangingCall[Any]] = []

    @property
    def free_bytes(self) -> int:
        """The room that is left."""
        files = (file for file in self._directory.rglob("*") if file.is_file() and not file.is_symlink())
        return max(0, self.total_bytes - self.foreign_bytes - sum(file.stat().st_size for file in files))

    @property
    def frozen(self) -> bool:
        """True while calls on the disk do not come back."""
        return self._frozen

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Let something else take all the room but so much."""
        self.foreign_bytes += self.free_bytes - leave_bytes

    def fail(self, error: int = errno.EIO, *, after_bytes: int = 0) -> None:
        """Let every call fail with this errno: at once, or when so many bytes more of a dump are written."""
        self._error, self._error_after_bytes = error, after_bytes

    def freeze(self, *, after_bytes: int | None = None, after_touches: int | None = None) -> None:
        """Let no call come back until ``thaw``.

        Args:
            after_bytes: when so many bytes more of a dump are written; at once without it.
            after_touches: when calls have touched the disk so many times more, which may be in the middle of
            one.
        """
        if after_touches is not None:
            self._freeze_after_touches = after_touches
        elif after_bytes is not None:
            self._freeze_after_bytes = after_bytes
        else:
            self._frozen = True

    def thaw(self) -> None:
        """Let the calls come back that hang, those too that nobody waits for any more."""
        self._frozen = False
        while self._hanging:
            self._hanging.pop(0).wake()

    async def call(self, call: Callable[[], T]) -> T:
        """Make a call that can block on the disk, as in a thread that a cancel leaves behind."""
        # Cancelled here, the thread has not begun: the call is not made.
        await trio.lowlevel.checkpoint()
        if self.frozen or self._freeze_after_touches < float("inf"):
            return await self._hang(call)
        if self.slow_s:
            await self._take_time(call)
        result = call()
        # Cancelled here, the call was made and its result is lost.
        await trio.lowlevel.checkpoint()
        return result

    async def _hang(self, call: Callable[[], T]) -> T:
        hanging: _HangingCall[T] = _HangingCall(call)
        self._hanging.append(hanging)
        await hanging.back.wait()
        return hanging.result()

    async def _take_time(self, call: Callable[[], object]) -> None:
        try:
            await trio.sleep(self.slow_s)
        except trio.Cancelled:
            call()
            raise

    def touch(self) -> None:
        """Hang, where the disk does."""
        self.touches += 1
        self._freeze_after_touches -= 1
        if self._freeze_after_touches < 0:
            self._freeze_after_touches = float("inf")
            self._frozen = True
        if self._frozen:
            _HangingCall.hang_here()

    def require(self, size_bytes: int = 0) -> None:
        """Raise the error of the disk, or the lack of room for so many bytes more; where it hangs, hang."""
        self.touch()
        if self._error is not None and self._error_after_bytes <= 0:
            raise OSError(self._error, os.strerror(self._error))
        if size_bytes > 0 and size_bytes > self.free_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def splice(self, source: int, target: int, size_bytes: int, offset: int) -> int:
        """Move bytes from a pipe into a file of the disk, as long as it has no trouble."""
        self.require(offset + size_bytes - os.fstat(target).st_size)
        moved = os.splice(source, target, size_bytes, offset_dst=offset)
        self._error_after_bytes -= moved
        self._freeze_after_bytes -= moved
        if self._freeze_after_bytes <= 0:
            self._freeze_after_bytes = float("inf")
            self.freeze()
        return moved


@frozen(kw_only=True)
class SimulatedFolder(Folder):
    """A folder of a simulated disk.

    Attributes:
        disk: the disk that it is on.
        note: gets a line for every file that was created, published or removed.
    """

    disk: SimulatedDisk
    note: Callable[[str], None]

    def sync(self) -> None:
        """Only the disk's trouble: a test needs no durability, and fsync takes long."""
        self.disk.require()

    def sync_file(self, fd: int) -> None:
        """Only the disk's trouble, as ``sync``."""
        self.disk.require()

    def space(self) -> Space:
        """The room on the simulated disk."""
        self.disk.require()
        return Space(free_bytes=self.disk.free_bytes, total_bytes=self.disk.total_bytes)

    def create(self, name: str, *, mode: int) -> NewFile:
        """Open a new file, if the disk lets us."""
        self.disk.require()
        file = super().create(name, mode=mode)
        self.note(f"create {self.path}/{name}")
        return file

    def write(self, name: str, data: bytes, *, mode: int, mtime_s: int | None = None) -> None:
        """Write a whole file, if there is room for it."""
        self.disk.require(len(data))
        super().write(name, data, mode=mode, mtime_s=mtime_s)

    def publish(self, file: NewFile) -> None:
        """Give a file its final name, if the disk lets us."""
        self.disk.require()
        super().publish(file)
        self.note(f"publish {self.path}/{file.name}")

    def remove(self, name: str) -> None:
        """Remove a file, if the disk lets us."""
        self.disk.require()
        super().remove(name)
        self.note(f"remove {self.path}/{name}")

    def reserve(self, size_bytes: int) -> None:
        """Hold room, as much of it as there is."""
        super().reserve(min(size_bytes, self.disk.free_bytes))

    def probe(self) -> None:
        """Prove that the folder can be written, if there is room for the probe."""
        self.disk.require(1)
        super().probe()
