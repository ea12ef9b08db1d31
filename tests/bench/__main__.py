"""Measure everything and print it: as a table, or with --json for programs."""

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from tests.system.volume import Volume
from tests.vm import recording

from . import synthetic, whole
from .measure import Comparison
from .stream import Case, compare_stream


@attrs.frozen(kw_only=True)
class Figure:
    """One thing measured on its own, and the bar that it has."""

    name: str
    value: float
    unit: str
    bar: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (default: %(default)s)")
    parser.add_argument("--makedumpfile", default="makedumpfile", help="the program to measure with")
    parser.add_argument("--zstd", action="store_true", help="that makedumpfile has zstd: measure it too")
    parser.add_argument("--level", type=int, action="append", help="dump levels (default: 31 and 1)")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    vmcore = recording.vmcore()
    with (
        tempfile.TemporaryDirectory(prefix="kdumpd-bench-", dir="/var/tmp") as name,
        volume(Path(name)) as disk,
    ):
        runner = whole.Runner(vmcore, disk.mountpoint, Path(name), arguments.makedumpfile)
        comparisons = [*streams(vmcore, disk, arguments), *whole.against_eve_order(runner, arguments.rounds)]
        figures = alone(runner, disk, arguments.rounds) + growth(vmcore, runner, Path(name), arguments)
    if arguments.json:
        print(json.dumps({"machine": machine(), **as_data(comparisons, figures)}, indent=2))
    else:
        print(table(comparisons, figures))


@contextmanager
def volume(folder: Path) -> Iterator[Volume]:
    """A mounted ext4 of its own, gone afterwards."""
    disk = Volume.make(folder, size_bytes=4 * synthetic.GIB)
    try:
        disk.mount()
        yield disk
    finally:
        disk.remove()


def streams(vmcore: Path, disk: Volume, arguments: argparse.Namespace) -> list[Comparison]:
    """The stream against makedumpfile direct, at the default level and at one that keeps far more."""
    compressions = ["none", "lzo", "zlib", *(["zstd"] if arguments.zstd else [])]
    return [
        comparison
        for level in arguments.level or (31, 1)
        for compression in compressions
        for comparison in compare_stream(
            Case(
                vmcore=vmcore,
                folder=disk.mountpoint,
                level=level,
                compression=compression,
                makedumpfile=arguments.makedumpfile,
            ),
            arguments.rounds,
        )
    ]


def alone(runner: whole.Runner, disk: Volume, rounds: int) -> list[Figure]:
    """What has a bar of its own."""
    latencies = sorted(whole.mount_to_first_byte_s(runner, disk.mount, disk.unmount) for _ in range(rounds))
    return [
        Figure(
            name="start to first panic line, beyond --dump-dmesg",
            value=whole.first_line_s(runner, rounds),
            unit="s",
            bar=0.35,
        ),
        Figure(
            name="mount to first dump byte, beyond makedumpfile's start",
            value=latencies[rounds // 2],
            unit="s",
            bar=0.05,
        ),
        Figure(name="nothing to do, start to exit", value=whole.nothing_to_do_s(rounds), unit="s", bar=0.15),
    ]


def growth(vmcore: Path, runner: whole.Runner, folder: Path, arguments: argparse.Namespace) -> list[Figure]:
    """Peak memory of the kdumpd process as recorded, and what 16 GiB of vmcore add to 2."""
    large = folder / "large.vmcore"
    synthetic.enlarge(vmcore, large, size_bytes=16 * synthetic.GIB)
    small_mib = whole.peak_mib(runner, 2)
    large_mib = whole.peak_mib(whole.Runner(large, runner.persist, folder, arguments.makedumpfile), 1)
    return [
        Figure(name="peak memory of the kdumpd process", value=small_mib, unit="MiB", bar=32),
        Figure(name="more of it with 16 GiB of vmcore", value=large_mib - small_mib, unit="MiB", bar=2),
    ]


def machine() -> dict[str, object]:
    """What it was measured on."""
    return {"kernel": platform.release(), "python": platform.python_version(), "cpus": _cpus()}


def _cpus() -> int:
    return Path("/proc/cpuinfo").read_text().count("processor\t")


def as_data(comparisons: list[Comparison], figures: list[Figure]) -> dict[str, object]:
    """For JSON."""
    return {
        "comparisons": [attrs.asdict(comparison) | {"met": comparison.met} for comparison in comparisons],
        "figures": [attrs.asdict(figure) | {"met": figure.value <= figure.bar} for figure in figures],
    }


def table(comparisons: list[Comparison], figures: list[Figure]) -> str:
    """In Markdown, as docs/benchmarks.md has it."""
    rows = ["| what | kdumpd | other | ratio | at most | |", "|---|---|---|---|---|---|"]
    for one in comparisons:
        medians = f"{one.first_median:.3f} {one.unit} | {one.second_median:.3f} {one.unit}"
        rows.append(f"| {one.name} | {medians} | {one.ratio:.3f} | {one.bar} | {_mark(one.met)} |")
    for figure in figures:
        value = f"{figure.value:.3f} {figure.unit}"
        met = _mark(figure.value <= figure.bar)
        rows.append(f"| {figure.name} | {value} | | | {figure.bar} {figure.unit} | {met} |")
    return "\n".join(rows)


def _mark(met: bool) -> str:
    return "met" if met else "**not met**"


if __name__ == "__main__":
    main()
