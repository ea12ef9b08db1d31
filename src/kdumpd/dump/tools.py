"""What the programs that read the vmcore tell without storage: abilities, the log, pages by class."""

import contextlib
import os
from collections.abc import Callable
from typing import Final

import trio
from attrs import frozen

from kdumpd import config
from kdumpd.dump import makedumpfile
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.errors import DumpError
from kdumpd.host.machine import Machine
from kdumpd.host.process import OUTPUT_BYTES, run

# What a program that reads the vmcore may take, where the caller does not say: a well-meant stall.
_READ_S: Final = 60.0


@frozen(kw_only=True)
class CrashLog:
    """The log, and what went wrong on the way.

    Attributes:
        data: the whole log; empty when there is none.
        tool: the program that gave it; None when there is none.
        warnings: why a tool before it did not.
    """

    data: bytes
    tool: str | None
    warnings: tuple[str, ...]


async def read_log(machine: Machine, *, program: str, vmcore: str, within_s: float = _READ_S) -> CrashLog:
    """Take the log with makedumpfile, else with vmcore-dmesg, in ``within_s`` each; failures are warnings."""
    warnings: list[str] = []
    for extract in (_with_makedumpfile, _with_vmcore_dmesg):
        memory = os.memfd_create("log", os.MFD_CLOEXEC)
        try:
            with trio.fail_after(within_s):
                tool = await extract(machine, program, vmcore, memory)
            return CrashLog(data=_read_memory(memory, tool), tool=tool, warnings=tuple(warnings))
        except DumpError as error:
            warnings.append(str(error))
        except trio.TooSlowError:
            warnings.append(f"reading the log hung for {within_s:g} s")
        finally:
            os.close(memory)
    return CrashLog(data=b"", tool=None, warnings=tuple(warnings))


async def _with_makedumpfile(machine: Machine, program: str, vmcore: str, memory: int) -> str:
    # It writes to a file that it opens by name, and its messages to standard output. Its own number and ours
    # may be others in /proc, where that shows another pid namespace; "self" is right everywhere.
    argv = makedumpfile.log_argv(program, vmcore, f"/proc/self/fd/{memory}")
    finished = await run(machine.spawn, argv, pass_fds=[memory])
    if finished.code != 0:
        raise DumpError(f"{program} --dump-dmesg {finished.why()}")
    return program


async def _with_vmcore_dmesg(machine: Machine, _program: str, vmcore: str, memory: int) -> str:
    finished = await run(machine.spawn, ["vmcore-dmesg", vmcore], stdout=memory)
    if finished.code != 0:
        raise DumpError(f"vmcore-dmesg {finished.why()}")
    return "vmcore-dmesg"


def _read_memory(memory: int, tool: str) -> bytes:
    data = os.pread(memory, OUTPUT_BYTES, 0)
    if not data.strip(b"\0\r\n "):
        raise DumpError(f"{tool} found an empty log")
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
