"""One dump alone: makedumpfile is run, its stream placed in a file, the file checked, sealed or dropped."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import PurePath
from typing import NoReturn

import trio

from kdumpd import config
from kdumpd.dump import makedumpfile
from kdumpd.dump.job import DumpJob
from kdumpd.dump.stream import Limit, Progress
from kdumpd.dump.tools import probe
from kdumpd.dump.verdict import Verdict
from kdumpd.errors import StorageError
from kdumpd.host.background import background
from kdumpd.host.folder import Folder
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine
from kdumpd.host.threads import Worker


async def capture_dump(
    path: str | os.PathLike[str],
    *,
    vmcore: str = "/proc/vmcore",
    settings: config.DumpSettings | None = None,
    progress: Callable[[Progress], object] = lambda _progress: None,
    progress_s: float = 1.0,
    machine: Machine | None = None,
) -> Verdict:
    """Make a dump of a crashed kernel, under a temporary name until it is whole.

    What goes wrong after makedumpfile was started is told by the verdict. The caller owns the time, beyond
    the budgets in the settings. Cancelled, what there is by then is sealed, if it is worth opening.

    Args:
        path: the dump's file; its folder must be there, and the file must not.
        vmcore: the crashed kernel's memory.
        settings: level, compression, budgets, and what to do with a dump that may hold private data.
        progress: called every ``progress_s`` seconds, and once at the end.
        progress_s: how often.
        machine: the machine to run on; a simulated one in tests.

    Returns:
        What became of it.

    Raises:
        DumpError: makedumpfile is missing, or is something else.
        StorageError: the folder cannot be opened, or there is such a file already.
    """
    machine, settings = machine or LinuxMachine(), settings or config.DumpSettings()
    capabilities = await probe(machine, settings.makedumpfile)
    compression, _ = makedumpfile.choose_compression(settings.compression, capabilities)
    opened = await Worker(machine.on_disk).run(
        _open_for, machine, PurePath(path), undo=lambda lost: lost.close()
    )
    with closing(opened):
        job = DumpJob(
            folder=opened,
            name=PurePath(path).name,
            settings=settings,
            machine=machine,
            vmcore=vmcore,
            compression=compression,
            limit=_limit(settings),
        )
        async with background() as nursery:
            nursery.start_soon(_report, job, progress, progress_s)
            verdict = await job.run()
        progress(job.progress())
    return verdict


def _open_for(machine: Machine, path: PurePath) -> Folder:
    folder = machine.open_folder(str(path.parent))
    if any(entry.name == path.name for entry in folder.entries()):
        folder.close()
        raise StorageError(f"{path} is there already")
    return folder


async def _report(job: DumpJob, progress: Callable[[Progress], object], progress_s: float) -> NoReturn:
    while True:
        await trio.sleep(progress_s)
        progress(job.progress())


def _limit(settings: config.DumpSettings) -> Limit | None:
    if not settings.max_bytes:
        return None
    why = f"size budget of {settings.max_bytes} bytes ran out"
    return Limit(size_bytes=settings.max_bytes, why=why)
