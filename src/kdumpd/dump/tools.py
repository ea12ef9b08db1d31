"""What the programs that read the vmcore tell without storage: abilities, the log, pages by class."""

import contextlib
import os
from typing import Final

import trio
from attrs import frozen

from kdumpd import config
from kdumpd.dump import makedumpfile
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.errors import DumpError
from kdumpd.host.machine import Machine
from kdumpd.host.process import OUTPUT_BYTES, run

# Extraction takes well under a second; a tool that needs longer than this hangs on the vmcore.
_EXTRACT_S: Final = 30.0
_PROBE_S: Final = 10.0
_SURVEY_S: Final = 60.0


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


async def read_log(machine: Machine, *, program: str, vmcore: str) -> CrashLog:
    """Take the log with makedumpfile, else with vmcore-dmesg; every failure is a warning."""
    warnings: list[str] = []
    for extract in (_with_makedumpfile, _with_vmcore_dmesg):
        memory = os.memfd_create("log", os.MFD_CLOEXEC)
        try:
            with trio.fail_after(_EXTRACT_S):
                tool = await extract(machine, program, vmcore, memory)
            return CrashLog(data=_read_memory(memory, tool), tool=tool, warnings=tuple(warnings))
        except DumpError as error:
            warnings.append(str(error))
        except trio.TooSlowError:
            warnings.append(f"reading the log hung for {_EXTRACT_S:g} s")
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


async def probe(machine: Machine, program: str) -> makedumpfile.Capabilities:
    """Ask makedumpfile for its version and what was built in.

    Raises:
        DumpError: it is missing, hangs, or is something else.
    """
    with trio.move_on_after(_PROBE_S):
        finished = await run(machine.spawn, makedumpfile.version_argv(program))
        return makedumpfile.parse_version(finished.messages)
    raise DumpError(f"{program} -v hangs")


async def survey(machine: Machine, settings: config.DumpSettings, vmcore: str) -> PageReport | None:
    """Count the pages of each class with a dry run, in at most a minute or ``stall_s``; None if it fails."""
    argv = makedumpfile.survey_argv(settings.makedumpfile, vmcore, level=settings.level)
    with trio.move_on_after(min(_SURVEY_S, settings.stall_s)), contextlib.suppress(DumpError):
        finished = await run(machine.spawn, argv)
        return makedumpfile.parse_report(finished.messages)
    return None
