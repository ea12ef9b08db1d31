"""The stream against makedumpfile writing directly: same vmcore, same options, both fsynced."""

import os
import resource
import subprocess
import time
from pathlib import Path

import trio
from attrs import frozen

from kdumpd.config import DumpSettings as Settings
from kdumpd.dump.job import DumpJob
from kdumpd.host.folder import Folder
from kdumpd.host.linux import LinuxMachine

from .measure import Comparison, compare

WALL_BAR = 1.05
CPU_BAR = 1.10
OPTIONS = {"none": [], "lzo": ["-l"], "zlib": ["-c"], "zstd": ["-z"]}


@frozen(kw_only=True)
class Case:
    """One way to dump, and where to."""

    vmcore: Path
    folder: Path
    level: int
    compression: str
    makedumpfile: str

    @property
    def name(self) -> str:
        """For a table's row."""
        gib = round(self.vmcore.stat().st_size / (1 << 30))
        return f"{gib} GiB, level {self.level}, {self.compression}"


def compare_stream(case: Case, rounds: int) -> list[Comparison]:
    """Wall and CPU time of all processes, in turn."""
    return trio.run(_compare, case, rounds)


async def _compare(case: Case, rounds: int) -> list[Comparison]:
    walls: list[tuple[float, float]] = []
    cpus: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        start = _now()
        await _stream(case)
        between = _now()
        await trio.to_thread.run_sync(_direct, case)
        end = _now()
        walls.append((between[0] - start[0], end[0] - between[0]))
        cpus.append((between[1] - start[1], end[1] - between[1]))
    return [
        compare(
            f"stream / direct, {kind}, {case.name}",
            first="kdumpd's stream",
            second="makedumpfile direct",
            unit="s",
            pairs=([pair[0] for pair in pairs[1:]], [pair[1] for pair in pairs[1:]]),
            bar=bar,
        )
        for kind, pairs, bar in (("wall", walls, WALL_BAR), ("CPU", cpus, CPU_BAR))
    ]


def _now() -> tuple[float, float]:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), sum(usage.ru_utime + usage.ru_stime for usage in used)


async def _stream(case: Case) -> None:
    held = Folder.open(str(case.folder))
    dump = DumpJob(
        folder=held,
        name="stream.dump",
        settings=Settings(level=case.level, makedumpfile=case.makedumpfile),
        machine=LinuxMachine(),
        vmcore=str(case.vmcore),
        compression=case.compression,
    )
    verdict = await dump.run()
    assert verdict.state == "complete", verdict.why
    held.remove("stream.dump")
    held.close()


def _direct(case: Case) -> None:
    target = case.folder / "direct.dump"
    options = [*OPTIONS[case.compression], "-d", str(case.level), "--message-level", "4"]
    subprocess.run(
        [case.makedumpfile, *options, str(case.vmcore), str(target)], check=True, stdout=subprocess.DEVNULL
    )
    fd = os.open(target, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    target.unlink()
