"""A drill: crash this machine on purpose, so that the next status can say how far the capture came."""

import os
import sys
from pathlib import Path
from typing import Final

from kdumpd.config import Config
from kdumpd.errors import ConfigError, trouble
from kdumpd.sources import values
from kdumpd.status.assess import read_status
from kdumpd.status.boots import BOOT_ID, write_note
from kdumpd.status.drill import NAME, Drill
from kdumpd.status.facts import Facts
from kdumpd.status.files import MachineFiles, Unknown
from kdumpd.status.lastcrash import find_crashes

TRIGGER: Final = "/proc/sysrq-trigger"


def drill(config: Config, *, yes: bool, root: Path = Path("/")) -> str:
    """Crash the machine; returns only if that failed, with the line to print.

    A machine that is not armed is not crashed for nothing: the drill has failed at that step.

    Args:
        config: the settings.
        yes: crash without asking.
        root: where the machine's root is seen.

    Raises:
        ConfigError: nobody can be asked, or the answer is no.
    """
    status, machine = read_status(config, root=root), MachineFiles(root)
    if not yes and status.armed:
        _ask(status.facts)
    refused = (status.reasons[0].code, status.reasons[0].text) if status.reasons else None
    unwritten = write_note(config, machine, NAME, _prepare(config, machine, refused).note())
    if refused:
        return "kdumpd: drill failed: {}: {}".format(*refused)
    if unwritten:
        return f"kdumpd: drill failed: persist: {unwritten}"
    return f"kdumpd: drill failed: crash: {_crash(machine)}"


def _prepare(config: Config, machine: MachineFiles, refused: tuple[str, str] | None) -> Drill:
    crashes = find_crashes(machine, f"{config.storage.mountpoint}/{config.dump.directory}")
    known = () if isinstance(crashes, Unknown) else crashes
    boot = machine.text_or_none(BOOT_ID) or ""
    return Drill(boot=boot, stamps=tuple(crash.stamp for crash in known), refused=refused)


def _ask(facts: Facts) -> None:
    if not sys.stdin.isatty():
        raise ConfigError("drill crashes this machine: say --yes where nobody can be asked")
    sys.stdout.write(f"This crashes the machine, now: all that runs on it ends. {_return_text(facts)}\n")
    sys.stdout.write("Type yes to go on: ")
    sys.stdout.flush()
    if sys.stdin.readline().strip() != "yes":
        raise ConfigError("drill: not confirmed, nothing done")


def _return_text(facts: Facts) -> str:
    """Whether it comes back by itself: the capture kernel takes ``panic=`` from its own command line."""
    line = facts.load_result.command_line if facts.load_result else ""
    if (values(line, "panic") or ["0"])[-1] == "0":
        return "It stays in the capture kernel until somebody restarts it (panic=0)."
    return "It restarts by itself."


def _crash(machine: MachineFiles) -> str:
    """Crash; returns why that failed."""
    os.sync()
    try:
        machine.path(TRIGGER).write_text("c")
    except OSError as error:
        return f"{TRIGGER}: {trouble(error)}"
    return f"{TRIGGER} had no effect"
