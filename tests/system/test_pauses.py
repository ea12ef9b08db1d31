"""The disk pauses at every step of a run, for as long as a lost interrupt costs: and it costs just that.

SCSI, ATA and NVMe give a command 30 s, and a lost interrupt in a capture kernel costs exactly one such time.
Here the disk stops for 35 s before each of the run's calls on it in turn, in a run of its own each, eight
side by side. A disk stops in two ways: the file system takes no write (fsfreeze), or the disk answers
nothing, reads included, with nothing of it left in its cache (a loop device on a FUSE file).
"""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import attrs
import pytest

from .crash import FaultRun, Recorded
from .faulty import FaultyFile
from .volume import Volume, command

pytestmark = pytest.mark.system

Way = Literal["frozen", "silent"]

SIDE_BY_SIDE = 8
PAUSE_S = 35
SHORT_PAUSE_S = 5
# What a run may take beside its pause: it has a quarter of a core that others use too.
RUN_S = 120
# The shortest time of a watchdog that EVE's devices have is 30 s.
WATCHDOG_S = 20
PROJECT = Path(__file__).parents[2]


@attrs.frozen(kw_only=True)
class Result:
    """What became of one run.

    Attributes:
        step: before which call on the disk it paused.
        name: what that call was; empty if there were not so many.
        seconds: from start to end.
        unpetted_s: the longest time without a pet for the watchdog.
        wrong: what did not hold; empty if all did.
    """

    step: int
    name: str
    seconds: float
    unpetted_s: float
    wrong: str

    def __str__(self) -> str:
        fate = self.wrong or "complete"
        return (
            f"{self.step:3} {self.name:32} {self.seconds:6.1f} s, watchdog {self.unpetted_s:4.1f} s: {fate}"
        )


class Paused:
    """A run whose disk pauses once.

    Args:
        folder: its own, for everything.
        recorded: the crash.
        way: how the disk pauses.
        pause_s: for how long.
    """

    def __init__(self, folder: Path, recorded: Recorded, way: Way, pause_s: float) -> None:
        folder.mkdir()
        self.pause_s = pause_s
        self.ended = threading.Event()
        self.volume = Volume.make(folder)
        self.disk: FaultyFile | None = None
        if way == "silent":
            self.disk = FaultyFile(self.volume.image, folder / "disk", writable=True)
            self.volume.attach(self.disk.path)
        self.crash = FaultRun(folder, self.volume, recorded)
        self.crash.configure("storage", wait_s=120)
        self.crash.configure("watchdog", device="/dev/watchdog")
        self.crash.configure("budget", total_s=1800, grace_s=15)
        self.crash.environment["PYTHONPATH"] += f":{PROJECT}"
        self.crash.program = ["tests.system.pausing"]
        # sync does nothing in these runs; and a frozen file system refuses at once to be read-only
        self.not_counted = ["sync", "make_clean"] if way == "frozen" else ["sync"]

    def remove(self) -> None:
        self.crash.cleanup()
        self.volume.remove()
        if self.disk is not None:
            self.disk.remove()

    def run(self, step: int) -> Result:
        """Run with a pause before this call on the disk."""
        self.crash.mount()
        self.crash.arguments = [str(self.crash.meeting), str(step), *self.not_counted]
        wrong = ""
        with self._pausing():
            try:
                self.crash.run(within_s=self.pause_s + RUN_S)
            except AssertionError as error:
                wrong = f"{error} ".splitlines()[0][:160]
        self.crash.thaw()  # whatever of the run still hung on the disk ends
        if not self.volume.mountpoint.is_mount():
            self.volume.mount()
        wrong = wrong or self._wrong()
        names = (self.crash.meeting / "calls").read_text().splitlines()
        return Result(
            step=step,
            name=names[step - 1] if 0 < step <= len(names) else "",
            seconds=self.crash.last.seconds if self.crash.last else 0,
            unpetted_s=float((self.crash.meeting / "watchdog").read_text()),
            wrong=wrong,
        )

    def _wrong(self) -> str:
        try:
            self.crash.assert_collected("dump")
            assert self.crash.record()["reason"], "the record has no reason"
        except (AssertionError, OSError) as error:
            return " ".join(f"{self.crash.reason or 'no reason'}: {error}".split())[:200]
        unpetted_s = float((self.crash.meeting / "watchdog").read_text())
        return "" if unpetted_s < WATCHDOG_S else "the watchdog was not petted"

    @contextmanager
    def _pausing(self) -> Iterator[None]:
        """Let the disk pause when the run asks for it."""
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(self.crash.meeting / "pause"))
            door.listen()
            pausing = threading.Thread(target=self._pause, args=[door])
            pausing.start()
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    door.shutdown(socket.SHUT_RDWR)
                self.ended.set()
                pausing.join()

    def _pause(self, door: socket.socket) -> None:
        try:
            asking, _ = door.accept()
        except OSError:  # the run is over
            return
        with asking:
            self._stop()
            asking.send(b"!")
        self.ended.wait(self.pause_s)
        self._go_on()

    def _stop(self) -> None:
        if self.disk is None:
            self.volume.freeze()
            return
        self._forget()
        self.disk.speaking.clear()

    def _forget(self) -> None:
        """Have as much as can be read from the disk anew.

        Programs do it: a file on FUSE that this process had open would be closed in a child between vfork and
        exec, which asks the thread that serves it, while this process is stopped.
        """
        disk = [self.disk.path] if self.disk else []
        for path in [*self.volume.mountpoint.rglob("*"), *disk]:
            if path.is_file():
                command("dd", f"if={path}", "iflag=nocache", "count=0", check=False)
        command("blockdev", "--flushbufs", self.volume.device, check=False)

    def _go_on(self) -> None:
        if self.disk is None:
            self.volume.thaw()
        else:
            self.disk.speaking.set()


def run_one(folder: Path, recorded: Recorded, way: Way, pause_s: float, step: int) -> Result:
    with ExitStack() as stack:
        paused = Paused(folder, recorded, way, pause_s)
        stack.callback(paused.remove)
        return paused.run(step)


def sweep(folder: Path, recorded: Recorded, way: Way, pause_s: float, steps: list[int]) -> list[Result]:
    """Run once for each step, eight side by side; what a run without so many steps came to is left out."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        runs = [pool.submit(run_one, folder / f"step-{step}", recorded, way, pause_s, step) for step in steps]
        results = [run.result() for run in runs]
    print("", *results, sep="\n")
    return results


def count(folder: Path, recorded: Recorded, way: Way) -> list[str]:
    """The calls on the disk of a run without a pause."""
    result = run_one(folder / "count", recorded, way, 0, 0)
    print(result)
    assert not result.wrong
    return (folder / "count/meeting/calls").read_text().splitlines()


def require_complete(results: list[Result], pause_s: float) -> None:
    wrong = [str(result) for result in results if result.wrong]
    assert not wrong, "\n".join(wrong)
    assert all(result.seconds >= pause_s for result in results if result.name)


@pytest.mark.parametrize("way", ["frozen", "silent"])
def test_a_pause_of_35_s_costs_no_more_than_that(tmp_path: Path, recorded: Recorded, way: Way) -> None:
    """A sample, for every change: one step of each name, as many as run side by side."""
    names = count(tmp_path, recorded, way)
    first = {name: number for number, name in reversed(list(enumerate(names, start=1)))}
    steps = sorted(first.values())
    last = SIDE_BY_SIDE - 1  # the first and the last step are among them
    sample = sorted({steps[number * (len(steps) - 1) // last] for number in range(SIDE_BY_SIDE)})
    require_complete(sweep(tmp_path, recorded, way, PAUSE_S, sample), PAUSE_S)


@pytest.mark.campaign
@pytest.mark.parametrize("way", ["frozen", "silent"])
def test_a_pause_of_35_s_at_every_step(tmp_path: Path, recorded: Recorded, way: Way) -> None:
    steps = list(range(1, len(count(tmp_path, recorded, way)) + 1))
    require_complete(sweep(tmp_path, recorded, way, PAUSE_S, steps), PAUSE_S)


@contextmanager
def busy_core() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burning:
        try:
            yield
        finally:
            burning.kill()


@pytest.mark.campaign
@pytest.mark.parametrize("way", ["frozen", "silent"])
def test_a_short_pause_at_every_step_beside_a_busy_core(tmp_path: Path, recorded: Recorded, way: Way) -> None:
    with busy_core():
        steps = list(range(1, len(count(tmp_path, recorded, way)) + 1))
        require_complete(sweep(tmp_path, recorded, way, SHORT_PAUSE_S, steps), SHORT_PAUSE_S)
