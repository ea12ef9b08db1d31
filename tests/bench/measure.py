"""What a command costs as a whole: wall time, CPU of all its processes, peak memory of the first."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

SAMPLE_S = 0.002


@frozen(kw_only=True)
class Cost:
    """One run. `peak_bytes` is the largest resident size of the process itself, without its children."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


@frozen(kw_only=True)
class Comparison:
    """Two things measured in turn, and how the first compares to the second."""

    name: str
    first: str
    second: str
    unit: str
    first_median: float
    second_median: float
    ratio: float
    rounds: int
    bar: float | None

    @property
    def met(self) -> bool:
        """Whether it reaches its bar."""
        return self.bar is None or self.ratio <= self.bar


def cost(argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end and measure it. Raises AssertionError if it fails."""
    before = time.monotonic()
    with subprocess.Popen([*map(str, argv)], env=environment, stdout=subprocess.DEVNULL) as process:
        peak_bytes = 0
        while True:
            peak_bytes = max(peak_bytes, _peak_bytes(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(SAMPLE_S)
        wall_s = time.monotonic() - before
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{argv}: exit code {process.returncode}"
    return Cost(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_bytes=peak_bytes)


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def alternate(
    rounds: int, first: Callable[[], Cost], second: Callable[[], Cost]
) -> tuple[list[Cost], list[Cost]]:
    """Measure both in turn, so that what the machine does meanwhile meets both."""
    pairs = [(first(), second()) for _ in range(rounds + 1)][1:]  # the first round warms the caches
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def compare(
    name: str,
    *,
    first: str,
    second: str,
    unit: str,
    pairs: tuple[Sequence[float], Sequence[float]],
    bar: float | None,
) -> Comparison:
    """Medians of both and the median of the rounds' ratios."""
    ratios = [a / b for a, b in zip(*pairs, strict=True)]
    return Comparison(
        name=name,
        first=first,
        second=second,
        unit=unit,
        first_median=statistics.median(pairs[0]),
        second_median=statistics.median(pairs[1]),
        ratio=statistics.median(ratios),
        rounds=len(ratios),
        bar=bar,
    )
