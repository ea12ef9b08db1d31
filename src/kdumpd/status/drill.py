"""A drill: a crash on purpose, and what the next boot says of it.

Before the crash a note in the crash folder says which boot it was and which crashes were there. Whoever asks
for the status later finds out from the same folder how far the capture came.
"""

from collections.abc import Sequence
from typing import Any, Final

import attrs
from attrs import frozen

from kdumpd.config import Config
from kdumpd.status.boots import read_note
from kdumpd.status.files import MachineFiles
from kdumpd.status.lastcrash import LastCrash

NAME: Final = "drill.json"


@frozen(kw_only=True)
class Drill:
    """What is noted before a drill's crash.

    Attributes:
        boot: the kernel's id of the boot that is to crash.
        stamps: of the crashes that were there before.
        refused: why it did not crash: a status code and its text; None: it went on to the crash.
    """

    boot: str
    stamps: tuple[str, ...]
    refused: tuple[str, str] | None = None

    def note(self) -> dict[str, Any]:
        """As JSON has it."""
        return attrs.asdict(self)


@frozen(kw_only=True)
class DrillResult:
    """How the last drill ended.

    Attributes:
        passed: whether it left what a crash is to leave.
        step: the step that failed: a status code of a machine that is not armed, or ``crash``,
            ``capture`` or ``dump``; None if it passed.
        text: what was found, one line.
    """

    passed: bool
    step: str | None
    text: str


def read_drill(machine: MachineFiles, directory: str) -> Drill | None:
    """Read the note of the last drill; None if there was none, or it is damaged."""
    note = read_note(machine, f"{directory}/{NAME}")
    boot, stamps, refused = note.get("boot"), _texts(note.get("stamps")), _texts(note.get("refused"))
    if not isinstance(boot, str) or stamps is None:
        return None
    match refused:
        case code, text:
            return Drill(boot=boot, stamps=stamps, refused=(code, text))
        case _:
            return Drill(boot=boot, stamps=stamps)


def _texts(value: object) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None


def judge(drill: Drill, *, boot: str | None, crashes: Sequence[LastCrash], config: Config) -> DrillResult:
    """Say how a drill ended.

    Args:
        drill: what was noted before it.
        boot: the id of this boot.
        crashes: those in the crash folder, newest first.
        config: whether a dump was wanted.
    """
    if drill.refused:
        return _failed(*drill.refused)
    if drill.boot == boot:
        return _failed("crash", "the machine has not crashed since")
    found = next((crash for crash in crashes if crash.stamp not in drill.stamps), None)
    if found is None:
        return _failed("capture", "nothing was collected: no capture kernel came, or none reached persist")
    if found.dump_state == "complete":
        return DrillResult(passed=True, step=None, text=f"{found.stamp}: a complete dump")
    if found.dump_state == "none" and not config.dump.enabled:
        return DrillResult(passed=True, step=None, text=f"{found.stamp}: the log alone, as configured")
    return _failed("dump", f"{found.stamp}: {found.reason or 'there is no record of a dump'}")


def _failed(step: str, text: str) -> DrillResult:
    return DrillResult(passed=False, step=step, text=text)
