"""The boot before this one: was it armed, and did it end in a way that somebody explains?

EVE writes ``reboot-reason`` or ``boot-reason`` before each restart that it wants, and kdumpd writes both
after a crash. A boot that was armed and left neither ended in a power cut, or in a crash whose capture never
came. ``kdumpd run`` is in time to see it: it comes before what reads these files and takes them away.
"""

import json
from typing import Any, Final

import attrs
from attrs import frozen

from kdumpd.config import Config
from kdumpd.errors import KdumpError
from kdumpd.host.folder import Folder
from kdumpd.status.files import MachineFiles, Unknown

NAME: Final = "last-boot.json"
"""In the crash folder; no artefact, so nothing that retention counts."""

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_REASON_FILES: Final = ("reboot-reason", "boot-reason")


@frozen(kw_only=True)
class Boot:
    """What is noted of a boot.

    Attributes:
        boot: the kernel's id of it.
        armed: whether a crash would have left a dump.
        capture_missed: whether the boot before it was armed, and ended without a word.
    """

    boot: str
    armed: bool
    capture_missed: bool


def read_boot(machine: MachineFiles, directory: str) -> Boot | None:
    """Read what is noted in the crash folder; None if nothing is, or nothing that can be read."""
    found = read_note(machine, f"{directory}/{NAME}")
    boot, armed, missed = (found.get(name) for name in ("boot", "armed", "capture_missed"))
    if not isinstance(boot, str) or not isinstance(armed, bool) or not isinstance(missed, bool):
        return None
    return Boot(boot=boot, armed=armed, capture_missed=missed)


def read_note(machine: MachineFiles, path: str) -> dict[str, Any]:
    """Read a small JSON file; nothing if it is none."""
    data = machine.data(path)
    try:
        found = None if isinstance(data, Unknown) else json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def next_boot(last: Boot | None, *, boot: str, armed: bool, explained: bool) -> Boot:
    """What to note of this boot, by what was noted last; asked twice in one boot, the first look counts."""
    if last is not None and last.boot == boot:
        return attrs.evolve(last, armed=armed)
    missed = last is not None and last.armed and not explained
    return Boot(boot=boot, armed=armed, capture_missed=missed)


def note_boot(config: Config, machine: MachineFiles, *, armed: bool) -> None:
    """Note this boot in the crash folder, durably; where that cannot be written, it is left. Blocking."""
    mountpoint = config.storage.mountpoint
    boot = machine.text_or_none(BOOT_ID)
    if not boot:
        return
    last = read_boot(machine, f"{mountpoint}/{config.dump.directory}")
    explained = any(machine.text_or_none(f"{config.reasons_directory}/{name}") for name in _REASON_FILES)
    noted = next_boot(last, boot=boot, armed=armed, explained=explained)
    if noted != last:
        write_note(config, machine, NAME, attrs.asdict(noted))


def write_note(config: Config, machine: MachineFiles, name: str, note: dict[str, Any]) -> str | None:
    """Write a small JSON file into the crash folder, durably; returns why not. Blocking."""
    try:
        root = Folder.open(str(machine.path(config.storage.mountpoint)))
        try:
            folder = root.subfolder(config.dump.directory)
            try:
                folder.write(name, json.dumps(note).encode() + b"\n", mode=0o600)
            finally:
                folder.close()
        finally:
            root.close()
    except (OSError, KdumpError) as error:
        return str(error)
    return None
