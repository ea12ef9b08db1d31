"""What the programs that read the vmcore tell without storage: abilities, the log, pages by class."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import frozen

from kdumpd import config
from kdumpd.dump import makedumpfile
from kdumpd.dump.logtail import LOG_BYTES, LogTail
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.errors import DumpError
from kdumpd.host.machine import Machine
from kdumpd.host.process import CHUNK_BYTES, Finished, Tail, program_with_pipe, run
from kdumpd.text import size

# What a program that reads the vmcore may take, where the caller does not say: a well-meant stall.
_READ_S: Final = 60.0


@frozen(kw_only=True)
class CrashLog:
    """The log, and what went wrong on the way.

    Attributes:
        data: the log, of a longer one its last 16 MiB; empty when there is none.
        tool: the program that gave it; None when there is none.
        warnings: why a tool before it did not, and that something is missing.
    """

    data: bytes
    tool: str | None
    warnings: tuple[str, ...]


async def read_log(machine: Machine, *, program: str, vmcore: str, within_s: float = _READ_S) -> CrashLog:
    """Take the log with makedumpfile, else with vmcore-dmesg, in ``within_s`` each; failures are warnings."""
    warnings: list[str] = []
    ways = {
        f"{program} --dump-dmesg": makedumpfile.log_argv(program, vmcore),
        "vmcore-dmesg": ["vmcore-dmesg", vmcore],
    }
    for way, argv in ways.items():
        try:
            with trio.fail_after(within_s):
                log = await _extract(machine, way, argv)
            data = _usable(log.take(), argv[0])
            if log.size_bytes > LOG_BYTES:
                warnings.append(f"the log has {size(log.size_bytes)}; its last {size(LOG_BYTES)} are kept")
            return CrashLog(data=data, tool=argv[0], warnings=tuple(warnings))
        except DumpError as error:
            warnings.append(str(error))
        except trio.TooSlowError:
            warnings.append(f"reading the log hung for {within_s:g} s")
    return CrashLog(data=b"", tool=None, warnings=tuple(warnings))


async def _extract(machine: Machine, way: str, argv: Sequence[str]) -> LogTail:
    """Run a program that writes the log to its standard output."""
    log, messages = LogTail(), Tail()
    async with (
        program_with_pipe(machine.spawn, argv) as (child, source),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(log.read, source)
        assert child.stderr is not None
        while chunk := await child.stderr.receive_some(CHUNK_BYTES):
            messages.add(chunk)
        code = await child.wait()
    if code != 0:
        raise DumpError(f"{way} {Finished(code=code, messages=messages.data).why()}")
    return log


def _usable(data: bytes, program: str) -> bytes:
    if not data.strip(b"\0\r\n "):
        raise DumpError(f"{program} found an empty log")
    return data


async def probe(machine: Machine, program: str, *, within_s: float = _READ_S) -> makedumpfile.Capabilities:
    """Ask makedumpfile for its version and what was built in.

    Raises:
        DumpError: it is missing, hangs, or is something else.
    """
    with trio.move_on_after(within_s):
        finished = await run(machine.spawn, makedumpfile.version_argv(program))
        return makedumpfile.parse_version(finished.messages)
    raise DumpError(f"{program} -v hangs")


async def survey(
    machine: Machine,
    settings: config.DumpSettings,
    vmcore: str,
    *,
    advance: Callable[[], None] = lambda: None,
) -> PageReport | None:
    """Count the pages of each class with a dry run; None if it fails, or stalls for ``stall_s``.

    A machine with much memory takes minutes: what bounds it is that it advances, and the caller.

    Args:
        machine: where it runs.
        settings: program, level and ``stall_s``.
        vmcore: path of the crashed kernel's memory.
        advance: called whenever it has advanced.
    """
    argv = makedumpfile.survey_argv(settings.makedumpfile, vmcore, level=settings.level)
    phase: bytes | None = None

    def heard(messages: bytes) -> None:
        nonlocal phase
        if (now := makedumpfile.parse_phase(messages)) != phase:
            phase = now
            stall.deadline = trio.current_time() + settings.stall_s
            advance()

    advance()
    with trio.move_on_after(settings.stall_s) as stall, contextlib.suppress(DumpError):
        finished = await run(machine.spawn, argv, heard=heard)
        return makedumpfile.parse_report(finished.messages)
    return None
