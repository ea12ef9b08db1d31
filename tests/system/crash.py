"""A crash to be collected by a real `kdumpd run --no-reboot` onto a real volume, and what must hold after it.

Whatever a test breaks, `FaultRun.finish` checks what docs/reliability.md promises: nothing older is lost,
nothing half-written has a final name, no temporary is left, the reason files belong together, no traceback.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs

import kdumpd
from kdumpd.dump.kdumpfile import check

from .volume import Volume, command

STAND_IN = Path(__file__).parent / "stand_ins" / "makedumpfile.py"
STACK_BYTES = 524288

# What earlier crashes and other programs left; none of it may change. Nobody reads these dumps.
OLDER = {
    "kcrashes/kdump-20250101T000000Z.dump": b"an older dump " * 5000,
    "kcrashes/dmesg-20250101T000000Z.log": b"an older log " * 300,
    "kcrashes/crash-20250101T000000Z.json": b"{}\n",
    "kcrashes/dmesg-2024-11-23T01:40:39+00:00.log": b"a log by EVE's own script\n" * 100,
    "kcrashes/notes of a technician.txt": b"do not touch\n",
    "vault/customer.data": b"customer " * 1000,
}


@attrs.frozen(kw_only=True)
class Recorded:
    """A recorded vmcore and what is known of it without kdumpd's help."""

    vmcore: Path
    crash_time_s: int
    log: bytes

    @property
    def stamp(self) -> str:
        return stamp(self.crash_time_s)

    @classmethod
    def read(cls, vmcore: Path, folder: Path) -> "Recorded":
        with vmcore.open("rb") as file:
            time_s = re.search(rb"\nCRASHTIME=(\d+)\n", file.read(1 << 20))
        assert time_s is not None
        subprocess.run(
            ["makedumpfile", "--dump-dmesg", vmcore, folder / "log"], check=True, capture_output=True
        )
        return cls(vmcore=vmcore, crash_time_s=int(time_s[1]), log=(folder / "log").read_bytes())


@attrs.frozen(kw_only=True)
class Ran:
    """How a run ended.

    Attributes:
        code: exit status; None while a thread of it hangs in the kernel.
        seconds: from its start to its last step, where the machine would be restarted.
        console: what it showed.
        stderr: what it wrote there.
    """

    code: int | None
    seconds: float
    console: str
    stderr: str


class Running:
    """A run that is under way."""

    def __init__(self, command: list[str], console: Path, stderr: Path, environment: dict[str, str]) -> None:
        self._console, self._stderr = console, stderr
        self._began = time.monotonic()
        with stderr.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, env=os.environ | environment, start_new_session=True
            )

    def wait_for(self, event: Callable[[], bool], *, within_s: float = 20) -> None:
        """Wait until something has happened."""
        end = time.monotonic() + within_s
        while not event():
            assert time.monotonic() < end, f"did not happen in {within_s} s: {self._console.read_text()}"
            time.sleep(0.005)

    def wait_for_line(self, text: str, *, within_s: float = 20) -> None:
        self.wait_for(lambda: text in self._console.read_text(), within_s=within_s)

    @property
    def over(self) -> bool:
        """Whether it has exited, if only as far as the kernel lets a process with a hung thread."""
        if self.process.poll() is not None:
            return True
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] in "ZX" and self._settled()

    def _settled(self) -> bool:
        """Give its other threads, which are killed with it, a moment to be gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)
        return True

    def finish(self, *, within_s: float) -> Ran:
        """Wait for the end, which must come in time."""
        self.wait_for(lambda: self.over, within_s=max(0.1, within_s - (time.monotonic() - self._began)))
        seconds = time.monotonic() - self._began
        return Ran(
            code=self.process.poll(),
            seconds=seconds,
            console=self._console.read_text(errors="replace"),
            stderr=self._stderr.read_text(),
        )

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)


class FaultRun:
    """One crash: settings, storage, console; and the runs that collect it."""

    def __init__(self, folder: Path, volume: Volume, recorded: Recorded) -> None:
        self.folder = folder
        self.volume = volume
        self.recorded = recorded
        self.persist = volume.mountpoint
        self.kcrashes = volume.mountpoint / "kcrashes"
        self.console = folder / "console"
        self.meeting = folder / "meeting"
        self.last: Ran | None = None
        self.stamp = recorded.stamp
        self.log = recorded.log
        self.crash_time_s = recorded.crash_time_s
        self.environment = {"PYTHONPATH": str(Path(kdumpd.__file__).parents[1])}
        self.program = ["kdumpd", "run", "--no-reboot", "--config"]
        self.arguments: list[str] = []
        self.wrapper: list[str] = []
        self._older: dict[str, str] = {}
        self._running: list[Running] = []
        self.meeting.mkdir()
        self.console.touch()
        self.settings: dict[str, dict[str, object]] = {
            "vmcore": {"path": str(recorded.vmcore)},
            "storage": {
                "mountpoint": str(self.persist),
                "filesystems": ["ext4"],
                "partlabel": "",
                "wait_s": 10,
            },
            "dump": {"compression": "lzo"},
            "console": {"targets": [str(self.console)], "line_delay_s": 0},
            "watchdog": {"device": ""},
            "budget": {"total_s": 60, "grace_s": 5},
        }

    # Before a run.

    def configure(self, section: str, **values: object) -> None:
        self.settings.setdefault(section, {}).update(values)

    def stand_in(self, behaviour: str) -> None:
        """Have makedumpfile replaced by one that misbehaves."""
        launcher = self.folder / "makedumpfile"
        launcher.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} {behaviour} {self.meeting} "$@"\n')
        launcher.chmod(0o755)
        self.configure("dump", makedumpfile=str(launcher))

    def mount(self) -> None:
        """Mount the volume, with what earlier crashes left on it."""
        self.volume.mount()
        self.leave_older(OLDER)

    def leave_older(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            path = self.persist / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            self._older[name] = hashlib.sha256(data).hexdigest()
        command("sync", "--file-system", self.persist)

    def forget_older(self, *names: str) -> None:
        """These may go: retention removes them."""
        for name in names:
            del self._older[name]

    def forget_evicted(self) -> None:
        """What kdumpd said that it removed for want of room may be gone."""
        assert self.last is not None
        gone = re.findall(r"there was no room: (\S+) was removed", self.last.console)
        self.forget_older(*(f"kcrashes/{name}" for name in gone))

    # A run.

    def start(self) -> Running:
        config = self.folder / "kdumpd.toml"
        config.write_text(
            "\n".join(
                f"[{section}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
                for section, values in self.settings.items()
            )
        )
        command = [sys.executable, "-m", *self.program, str(config), *self.arguments]
        running = Running([*self.wrapper, *command], self.console, self.folder / "stderr", self.environment)
        self._running.append(running)
        return running

    def start_to_the_middle(self) -> Running:
        """Start a run and wait until the dump is half written."""
        running = self.start()
        running.wait_for((self.meeting / "half").exists)
        return running

    def go_on(self) -> None:
        """Let a stand-in that pauses go on."""
        (self.meeting / "go").touch()

    def run(self, *, within_s: float = 15) -> Ran:
        return self.finish(self.start(), within_s=within_s)

    def finish(self, running: Running, *, within_s: float = 15) -> Ran:
        """Wait for the end and check what must hold after every run; the test asserts the rest."""
        self.last = running.finish(within_s=within_s)
        assert "Traceback" not in self.last.stderr + self.last.console
        assert "internal error" not in self.last.stderr + self.last.console
        assert self.last.stderr == ""
        return self.last

    def thaw(self) -> None:
        """End the hang; what was left of the run ends with it."""
        self.volume.thaw()
        for running in self._running:
            running.process.wait(20)

    def cleanup(self) -> None:
        self.go_on()
        self.volume.thaw()
        for running in self._running:
            running.kill()

    # After a run.

    def text(self, name: str) -> str | None:
        """A file on persist; None when it is not there."""
        path = self.persist / name
        return path.read_text() if path.is_file() else None

    @property
    def reason(self) -> str | None:
        return self.text("reboot-reason")

    def why(self) -> str | None:
        """What reboot-reason gives as the cause that something is lacking."""
        found = re.search(r" \((?:incomplete|no kdump): (.*)\)\n\Z", self.reason or "")
        return found and found[1]

    @property
    def dump(self) -> Path:
        return self.kcrashes / f"kdump-{self.stamp}.dump"

    @property
    def dmesg(self) -> Path:
        return self.kcrashes / f"dmesg-{self.stamp}.log"

    def record(self) -> dict[str, object]:
        loaded: dict[str, object] = json.loads((self.kcrashes / f"crash-{self.stamp}.json").read_bytes())
        return loaded

    def take_log_of_vmcore_dmesg(self) -> None:
        """Expect the log as the second choice of a tool gives it: continued lines indented in another way."""
        vmcore = str(self.settings["vmcore"]["path"])
        self.log = subprocess.run(["vmcore-dmesg", vmcore], capture_output=True, check=True).stdout

    def expect_no_log(self, crash_time_s: int = 0) -> None:
        """Expect no log; and no crash time either, unless it is given."""
        self.log, self.crash_time_s = b"", crash_time_s

    WRITTEN = ("reboot-reason", "reboot-stack", "boot-reason", "probe", "kdump", "dmesg", "crash")

    def temporaries(self) -> list[Path]:
        """The names that files of this crash have until they are whole."""
        on_persist = ("reboot-reason", "reboot-stack", "boot-reason", "probe")
        in_kcrashes = (self.dump.name, self.dmesg.name, f"crash-{self.stamp}.json")
        return [
            self.persist / ".kdumpd-reserve.tmp",
            *(self.persist / f".kdumpd-{name}.1.tmp" for name in on_persist),
            *(self.kcrashes / f".kdumpd-{name}.1.tmp" for name in in_kcrashes),
        ]

    def stamp_before(self, seconds: int) -> str:
        """The stamp of a crash so much earlier."""
        return stamp(self.crash_time_s - seconds)

    def line(self, why: str | None, *, kept: str) -> str:
        """The reason line that was promised, to the byte; `kept` is dump, part, log or nothing."""
        if kept == "nothing":
            return f"kernel panic, nothing collected: {why}\n"
        if kept == "log":
            return f"kernel panic, dmesg collected: {self.dmesg}" + (f" (no kdump: {why})\n" if why else "\n")
        return f"kernel panic, kdump collected: {self.dump}" + (f" (incomplete: {why})\n" if why else "\n")

    def assert_collected(self, kept: str, why: str | None = None, *, left: Sequence[str] = ()) -> None:
        """Storage holds this much, the reason says so, and all else that was promised holds too."""
        assert self.reason == self.line(why, kept=kept)
        assert self.last is not None
        assert self.last.code in (0 if kept == "dump" or (kept == "log" and why is None) else 1, None)
        assert f"kdumpd: {self.reason}" in self.last.console
        self.assert_true(left=left)
        assert self.dump.exists() == (kept in ("dump", "part"))
        assert self.dmesg.exists() == (kept != "nothing")

    def assert_reason(self, line: str) -> None:
        """The reason is this, and the run was not complete."""
        assert self.reason == line
        assert self.last is not None
        assert self.last.code == 1
        assert f"kdumpd: {line}" in self.last.console
        self.assert_true()

    def assert_provisional(self) -> None:
        """What was put down before the dump is there; of the dump nothing half-written has its final name."""
        why = "the machine went down while the dump was written"
        assert self.reason == self.line(why, kept="log")
        assert self.dmesg.read_bytes() == self.log
        if self.dump.exists():  # its renaming hung in the kernel, and was done when nobody waited any more
            with self.dump.open("rb") as file:
                assert check(file.fileno()).complete
        self.assert_older_intact()
        self._assert_reasons_belong_together()
        left = {path for path in self.persist.rglob("*") if path.name.startswith(".kdumpd-")}
        assert left <= set(self.temporaries())

    def assert_true(self, *, left: Sequence[str] = ()) -> None:
        """What is on disk is true; of temporary names there may be those of these files."""
        self.assert_older_intact()
        self.assert_nothing_temporary(left)
        self._assert_reasons_belong_together()
        if self.dmesg.exists():
            assert self.dmesg.read_bytes() == self.log
            assert mode(self.dmesg) == 0o600
        if self.dump.exists():
            self._assert_dump_is_whole_or_sealed()
        record = self.kcrashes / f"crash-{self.stamp}.json"
        if record.exists():
            assert mode(record) == 0o600
            assert f"{self.record()['reason']}\n" == self.reason

    def assert_older_intact(self) -> None:
        for name, digest in self._older.items():
            assert hashlib.sha256((self.persist / name).read_bytes()).hexdigest() == digest, name

    def assert_nothing_temporary(self, left: Sequence[str] = ()) -> None:
        """No name but an artefact's, a reason's or what was there before, or the temporary one of these."""
        may_stay = re.compile(rf"(kcrashes/)?\.kdumpd-({'|'.join(left)})[^/]*\.tmp(/file)?")
        ours = re.compile(
            r"kcrashes(/(kdump|dmesg|crash)-[^/]*)?|reboot-reason|reboot-stack|boot-reason|.*\.moved-1/file"
        )
        for path in self.persist.rglob("*"):
            name = str(path.relative_to(self.persist))
            if path.is_symlink() or not path.is_dir():
                stays = bool(left) and may_stay.fullmatch(name) is not None
                assert name in self._older or stays or ours.fullmatch(name), name

    def _assert_reasons_belong_together(self) -> None:
        if self.reason is None:
            return
        assert self.reason.endswith("\n")
        assert self.reason.count("\n") == 1
        assert self.text("boot-reason") == "BootReasonKernel\n"
        stack = (self.persist / "reboot-stack").read_bytes()
        assert len(stack) <= STACK_BYTES
        assert self.log.endswith(stack) if stack else True
        before = self.log[: len(self.log) - len(stack)]
        assert before == b"" or before.endswith(b"\n")
        if self.crash_time_s:
            assert int((self.persist / "boot-reason").stat().st_mtime) == self.crash_time_s
        for name in ("reboot-reason", "reboot-stack", "boot-reason"):
            assert mode(self.persist / name) == 0o644

    def _assert_dump_is_whole_or_sealed(self) -> None:
        assert mode(self.dump) == 0o600
        assert self.reason is not None
        with self.dump.open("rb") as file:
            found = check(file.fileno())
        assert found.complete == ("incomplete" not in self.reason)
        assert found.header.incomplete == ("incomplete" in self.reason)

    def happened(self) -> str:
        """What became of it in the words of the table of docs/reliability.md."""
        if self.last is None:
            return ""
        reasons = re.findall(r"kdumpd: (kernel panic, .*)", self.last.console)
        text = self.reason or (f"on the console only: {reasons[-1]}" if reasons else "no reason was written")
        for long, short in ((str(self.persist), "/persist"), (self.stamp, "STAMP"), (str(self.folder), "")):
            text = text.replace(long, short)
        return text.strip() if len(text) < 240 else f"{text[:240]}..."


def stamp(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777
