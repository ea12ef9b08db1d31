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
from tests.vm import makedumpfile, recording

from . import capture, synthetic, whole
from .measure import Comparison
from .stream import OPTIONS, Case, compare_stream


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
    parser.add_argument("--level", type=int, action="append", help="dump levels (default: 31 and 1)")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kdumpd-bench-", dir="/var/tmp") as name,
        volume(Path(name)) as disk,
    ):
        comparisons, figures = measure(Path(name), disk, arguments.rounds, arguments.level or [31, 1])
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


def measure(
    folder: Path, disk: Volume, rounds: int, levels: list[int]
) -> tuple[list[Comparison], list[Figure]]:
    """Everything, with files in `folder` and dumps on `disk`."""
    vmcore, large = recording.vmcore(), folder / "large.vmcore"
    synthetic.enlarge(vmcore, large, size_bytes=16 * synthetic.GIB)
    # the default level and one that keeps far more, every compression; and once much more memory
    cases = [(vmcore, level, compression) for level in levels for compression in OPTIONS]
    program = with_every_compression(folder)
    streams = [
        comparison
        for of, level, compression in [*cases, (large, 31, "lzo")]
        for comparison in compare_stream(
            Case(
                vmcore=of, folder=disk.mountpoint, level=level, compression=compression, makedumpfile=program
            ),
            rounds,
        )
    ]
    runner, larger = (whole.Runner(of, disk.mountpoint, folder) for of in (vmcore, large))
    # a dump that takes as long as the text, as on a machine with much memory
    slow = whole.Runner(vmcore, disk.mountpoint, folder, level=1, compression="zlib")
    on_host = [one for each in (runner, slow) for one in whole.against_eve_order(each, rounds)]
    whole_runs = [*on_host, *capture.against_eve_order(rounds)]
    return [*streams, *whole_runs], [*alone(runner, disk, rounds), *memory(runner, larger)]


def with_every_compression(folder: Path) -> str:
    """The makedumpfile of kdumpd's image, which has zstd, as a program for this machine."""
    libraries = makedumpfile.of("forky") / "lib"
    loader = libraries / "ld-linux-x86-64.so.2"
    program = folder / "makedumpfile"
    command = f'exec {loader} --library-path {libraries} {libraries}/makedumpfile "$@"'
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(0o755)
    return str(program)


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


def memory(runner: whole.Runner, large: whole.Runner) -> list[Figure]:
    """Peak memory of the kdumpd process as recorded, and what 16 GiB of vmcore add to 2."""
    small_mib, large_mib = whole.peak_mib(runner, 2), whole.peak_mib(large, 1)
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
