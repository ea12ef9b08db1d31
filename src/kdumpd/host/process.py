"""Child processes that cannot outlive their deadline.

``trio.run_process`` always waits for the child's exit, and a child in an uninterruptible sleep (a
frozen disk) has none. Here a child is killed, waited for a short while, and then left behind: the
reboot does not wait for it.
"""

import contextlib
import fcntl
import os
import re
import resource
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import trio
from attrs import frozen

from kdumpd.errors import DumpError
from kdumpd.text import printable, shortened

CHUNK_BYTES: Final = 16 << 10

# What is kept of a child's messages; a page report and the error before it are far smaller.
TAIL_BYTES: Final = 64 << 10

# The most that a program may write into a memory file, which has what it says.
OUTPUT_BYTES: Final = 16 << 20

_PIPE_BYTES: Final = 1 << 20

# What is quoted of a child's last line.
_SAID_CHARACTERS: Final = 160

# How long a killed child may take to be gone before it is left behind.
_KILL_WAIT_S: Final = 2.0


class Child(Protocol):
    """A running child process, as much of ``trio.Process`` as kdumpd uses."""

    @property
    def stderr(self) -> trio.abc.ReceiveStream | None:
        """The read end of its standard error."""

    async def wait(self) -> int:
        """Wait for the exit; negative is the number of the signal that ended it."""

    def kill(self) -> None:
        """Send SIGKILL."""


class Spawn(Protocol):
    """Starts a program; ``Machine.spawn``."""

    async def __call__(self, argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
        """Start it with its standard output on this descriptor, and these others open as well."""


async def open_child(argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
    """Start a program with its standard output on a descriptor and its standard error on a pipe.

    Of our other descriptors it gets those in ``pass_fds``, with the same numbers. It is the first
    choice of the OOM killer, which must spare supervisor and log. Its writes into a memory file are limited.

    Raises:
        DumpError: the program is missing or cannot be executed.
    """
    try:
        child = await trio.lowlevel.open_process(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise DumpError(f"{argv[0]} not found") from error
    except OSError as error:
        raise DumpError(f"{argv[0]} cannot be run: {error.strerror}") from error
    _restrain(child.pid)
    return child


def _restrain(pid: int) -> None:
    with contextlib.suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
        Path(f"/proc/{_number_in_proc(pid)}/oom_score_adj").write_text("500")


def _number_in_proc(pid: int) -> str:
    """The number that a child has in /proc, which may show another pid namespace than ours; 0 for none."""
    pidfd = os.pidfd_open(pid)
    try:
        # fs/pidfs.c (kernel/fork.c before 6.9), pidfd_show_fdinfo()
        text = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    finally:
        os.close(pidfd)
    found = re.search(r"^Pid:\t(\d+)$", text, re.MULTILINE)
    return found[1] if found else "0"


@asynccontextmanager
async def ended_on_exit(child: Child) -> AsyncIterator[Child]:
    """Kill the child when the block is left, whichever way, and wait for it at most two seconds."""
    try:
        yield child
    finally:
        with trio.move_on_after(_KILL_WAIT_S, shield=True), contextlib.suppress(OSError):
            child.kill()
            await child.wait()
        if child.stderr is not None:
            with contextlib.suppress(OSError):
                await trio.aclose_forcefully(child.stderr)  # noqa: ASYNC102 it never waits


@asynccontextmanager
async def program_with_pipe(spawn: Spawn, argv: Sequence[str]) -> AsyncIterator[tuple[Child, int]]:
    """Start a program whose standard output is a large pipe; it is killed when the block is left.

    Yields:
        The child, and the non-blocking read end of the pipe.

    Raises:
        DumpError: it cannot be started.
    """
    source, sink = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            os.set_blocking(source, False)
            with contextlib.suppress(OSError):  # the pipes of one unprivileged user together have a limit
                fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            child = await spawn(argv, stdout=sink)
        finally:
            os.close(sink)
        async with ended_on_exit(child):
            yield child, source
    finally:
        os.close(source)


async def run(
    spawn: Spawn,
    argv: Sequence[str],
    *,
    stdout: int | None = None,
    pass_fds: Sequence[int] = (),
    heard: Callable[[bytes], None] = lambda _messages: None,
) -> "Finished":
    """Run a program to its end; the caller bounds it.

    Args:
        spawn: ``Machine.spawn``.
        argv: the program and its arguments.
        stdout: where its standard output goes; without it the last part is in ``messages``.
        pass_fds: what else it gets, with the same numbers.
        heard: called with the last of its messages whenever there are more.

    Raises:
        DumpError: it cannot be started.
    """
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        tail = Tail()
        started = await spawn(argv, stdout=output if stdout is None else stdout, pass_fds=pass_fds)
        async with ended_on_exit(started) as child:
            assert child.stderr is not None
            while chunk := await child.stderr.receive_some(CHUNK_BYTES):
                tail.add(chunk)
                heard(tail.data)
            code = await child.wait()
        tail.add(os.pread(output, TAIL_BYTES, max(0, os.fstat(output).st_size - TAIL_BYTES)))
        return Finished(code=code, messages=tail.data)
    finally:
        os.close(output)


class Tail:
    """The last part of what a child said."""

    def __init__(self) -> None:
        self.data = b""

    def add(self, chunk: bytes | bytearray) -> None:
        """Append, forgetting what is older than the last 64 KiB."""
        self.data = (self.data + chunk)[-TAIL_BYTES:]


@frozen(kw_only=True)
class Finished:
    """How a child ended and the last of what it said."""

    code: int
    messages: bytes

    def why(self) -> str:
        """Say in a few words how it ended, with its last line of text that is not a percentage."""
        ending = (
            f"was killed by signal {-self.code}" if self.code < 0 else f"ended with exit code {self.code}"
        )
        lines = [line.strip() for line in self.messages.replace(b"\r", b"\n").splitlines()]
        said = [line for line in lines if line and b" %] " not in line]
        if not said:
            return ending
        return f"{ending}: {shortened(printable(said[-1].decode('utf-8', 'replace')), _SAID_CHARACTERS)}"
