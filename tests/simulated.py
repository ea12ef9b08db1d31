"""Runs on a simulated machine: settings in short, and what a run left on the disk."""

import os
from pathlib import Path
from typing import Any

import trio

from kdumpd.config import SECTIONS, Config
from kdumpd.dump import kdumpfile
from kdumpd.run.finish import Outcome
from kdumpd.run.supervisor import supervise
from kdumpd.testing import SimulatedMachine

STAMP = "20261123T014039Z"
DUMP = f"kdump-{STAMP}.dump"
LOG = f"dmesg-{STAMP}.log"
RECORD = f"crash-{STAMP}.json"
FOLDER = "/persist/kcrashes"

COMPLETE = f"kernel panic, kdump collected: {FOLDER}/{DUMP}"
LOG_ONLY = f"kernel panic, dmesg collected: {FOLDER}/{LOG}"


def configured(**sections: dict[str, Any]) -> Config:
    """The default settings but for these, with the panic text at full speed."""
    sections["console"] = {"line_delay_s": 0, **sections.get("console", {})}
    return Config(**{name: SECTIONS[name](**values) for name, values in sections.items()})


async def collect(machine: SimulatedMachine, **sections: dict[str, Any]) -> Outcome:
    """One whole run."""
    return await supervise(configured(**sections), machine=machine)


async def collect_in(seconds: float, machine: SimulatedMachine, **sections: dict[str, float]) -> Outcome:
    """One whole run that must be over within these seconds."""
    with trio.fail_after(seconds):
        return await collect(machine, **sections)


def reason(machine: SimulatedMachine) -> str | None:
    """The content of reboot-reason; None when it is not there."""
    file = machine.files() / "reboot-reason"
    return file.read_text() if file.exists() else None


def crash_files(machine: SimulatedMachine) -> list[str]:
    """The names in the crash folder."""
    return sorted(file.name for file in machine.files().glob("kcrashes/*"))


def dump_file(machine: SimulatedMachine) -> Path:
    """The dump under its final name."""
    return machine.files() / "kcrashes" / DUMP


def check(dump: Path) -> kdumpfile.Check:
    """What is in a dump."""
    with dump.open("rb") as file:
        return kdumpfile.check(file.fileno())


def open_descriptors() -> set[tuple[int, str]]:
    """What this process has open: numbers, and what they are.

    Compare with ``<=``: what an earlier test left to the garbage collector may be closed meanwhile.
    """
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return {(number, link) for number in numbers if (link := _link(number)) is not None}


def _link(fd: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
