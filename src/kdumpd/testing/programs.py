"""Programs of the simulated machine: Python functions behind the pipes that a real child would have."""

import os
import signal
from collections.abc import Sequence
from typing import Protocol

import trio


class Program(Protocol):
    """A program of the simulated machine.

    It is called with the process that runs it, to write to, and returns the exit code; a negative one is the
    number of the signal that killed it.
    """

    async def __call__(self, process: "SimulatedProcess") -> int:
        """Run to the end."""


class SimulatedProcess:
    """A process of a simulated machine, as much of it as ``kdumpd.process.Child`` asks for.

    Attributes:
        argv: the program and its arguments.
        stderr: the read end of its standard error.
        unkillable: SIGKILL has no effect, as on a process that hangs in the kernel.
    """

    def __init__(self, argv: Sequence[str], program: Program, *, stdout: int) -> None:
        self.argv = tuple(argv)
        self.unkillable = False
        self._program = program
        self._scope = trio.CancelScope()
        self._exited = trio.Event()
        self._code = -signal.SIGKILL
        reading, self._stderr = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.stderr: trio.abc.ReceiveStream | None = trio.lowlevel.FdStream(reading)
        self._stdout = os.dup(stdout)
        os.set_blocking(self._stdout, False)
        # A process is nobody's child task: it ends by itself or is killed.
        trio.lowlevel.spawn_system_task(self._run, name=f"simulated {self.argv[0]}")

    @property
    def running(self) -> bool:
        """True until it has exited."""
        return not self._exited.is_set()

    async def wait(self) -> int:
        """Wait for the exit; negative is the number of the signal that ended it."""
        await self._exited.wait()
        return self._code

    def kill(self) -> None:
        """Send SIGKILL."""
        if not self.unkillable:
            self._scope.cancel()

    async def write_stdout(self, data: bytes) -> None:
        """Write all of it to standard output; waits while the pipe is full, as write(2) does."""
        await _write(self._stdout, data)

    async def write_stderr(self, data: bytes) -> None:
        """Write all of it to standard error."""
        await _write(self._stderr, data)

    async def _run(self) -> None:
        try:
            with self._scope:
                self._code = await self._program(self)
        except BrokenPipeError:
            self._code = -signal.SIGPIPE
        finally:
            os.close(self._stdout)
            os.close(self._stderr)
            self._exited.set()


async def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(fd)
    await trio.lowlevel.checkpoint()
