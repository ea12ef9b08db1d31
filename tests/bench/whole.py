"""`kdumpd run --no-reboot` as a whole process: against a shell script in EVE's order, and on its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .measure import Comparison, Cost, alternate, compare, cost
from .stream import OPTIONS

EVE_ORDER = Path(__file__).parent / "eve-order"
TEXT_S = 12  # 60 lines of panic text at EVE's 0.2 s, however many lines there are
LINES = 40  # what sysrq-c leaves on 6.1
LINE_DELAY_S = TEXT_S / LINES

CONFIG = """
[vmcore]
path = "{vmcore}"
[storage]
mountpoint = "{persist}"
partlabel = ""
min_free_bytes = 0
[dump]
level = {level}
compression = "{compression}"
[console]
targets = ["{console}"]
line_delay_s = {line_delay_s}
[watchdog]
device = ""
[crash_loop]
dumps = 0
"""


class Runner:
    """Runs kdumpd on one vmcore and one mounted file system."""

    def __init__(
        self, vmcore: Path, persist: Path, folder: Path, level: int = 31, compression: str = "lzo"
    ) -> None:
        self.vmcore = vmcore
        self.persist = persist
        self.console = folder / "console"
        self.options = ["-d", str(level), *OPTIONS[compression]]
        self.name = f"level {level}, {compression}"
        self._config = folder / f"{vmcore.name}-{level}.toml"
        self._config.write_text(
            CONFIG.format(
                vmcore=vmcore,
                persist=persist,
                console=self.console,
                line_delay_s=LINE_DELAY_S,
                level=level,
                compression=compression,
            )
        )
        self.argv = [sys.executable, "-m", "kdumpd", "run", "--no-reboot", "--config", str(self._config)]

    def clean(self) -> None:
        """Make every run the first on its disk and console."""
        for file in self.persist.rglob("*"):
            if file.is_file():
                file.unlink()
        self.console.write_bytes(b"")

    def run(self) -> Cost:
        """One whole run."""
        self.clean()
        return cost(self.argv)


def against_eve_order(runner: Runner, rounds: int) -> list[Comparison]:
    """Process start to ready-to-reboot, panic text at EVE's pace."""

    def script() -> Cost:
        runner.clean()
        return cost(
            [EVE_ORDER, runner.vmcore, runner.persist, runner.console, str(LINE_DELAY_S), *runner.options]
        )

    kdumpd, shell = alternate(rounds, runner.run, script)
    return [
        compare(
            f"run / EVE-ordered script, wall, {runner.name}, panic text of {TEXT_S} s",
            first="kdumpd run",
            second="shell script",
            unit="s",
            pairs=([run.wall_s for run in kdumpd], [run.wall_s for run in shell]),
            bar=0.6,
        )
    ]


def peak_mib(runner: Runner, rounds: int) -> float:
    """The largest resident size of the kdumpd process itself, in MiB, over all rounds."""
    return max(runner.run().peak_bytes for _ in range(rounds)) / (1 << 20)


def nothing_to_do_s(rounds: int) -> float:
    """Median time of `kdumpd run` in a system kernel, start to exit."""
    argv = [sys.executable, "-m", "kdumpd", "run"]
    return sorted(cost(argv).wall_s for _ in range(rounds))[rounds // 2]


def first_line_s(runner: Runner, rounds: int) -> float:
    """Median time from start to the first panic line, beyond makedumpfile's own --dump-dmesg."""
    return sorted(_first_line_s(runner) - _log_alone_s(runner) for _ in range(rounds))[rounds // 2]


def _first_line_s(runner: Runner) -> float:
    runner.clean()
    began = time.monotonic()
    with _started(runner.argv):
        return _when(lambda: "BEGIN kernel panic" in runner.console.read_text()) - began


def _log_alone_s(runner: Runner) -> float:
    log = runner.console.with_name("log")
    log.unlink(missing_ok=True)
    return cost(["makedumpfile", "--dump-dmesg", runner.vmcore, log]).wall_s


def mount_to_first_byte_s(runner: Runner, mount: Callable[[], None], unmount: Callable[[], None]) -> float:
    """From the return of mount(8) to the first byte of the dump, beyond makedumpfile's own start."""
    unmount()
    runner.console.write_bytes(b"")
    with _started(runner.argv):
        _when(lambda: "is not mounted" in runner.console.read_text())
        time.sleep(1)  # let everything that can be done before the mount be done
        mount()
        mounted = time.monotonic()
        return _when(lambda: _dump_bytes(runner.persist) > 0) - mounted - _start_s(runner)


def _start_s(runner: Runner) -> float:
    """How long makedumpfile itself takes to its first byte."""
    argv = ["makedumpfile", "-F", "-l", "-d", "31", "--message-level", "4", str(runner.vmcore)]
    began = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        took_s = time.monotonic() - began
        process.kill()
    return took_s


def _dump_bytes(persist: Path) -> int:
    return sum(file.stat().st_size for file in persist.glob("kcrashes/.kdumpd-kdump-*"))


@contextmanager
def _started(argv: list[str]) -> Iterator[None]:
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _when(true: Callable[[], bool]) -> float:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if true():
            return time.monotonic()
        time.sleep(0.001)
    raise AssertionError("it did not happen within a minute")
