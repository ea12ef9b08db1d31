"""``kdumpd run`` in a system kernel: a line for the fleet, and what is to be done before the boot goes on."""

from collections.abc import Sequence
from pathlib import Path

from kdumpd.config import AUTO, Config
from kdumpd.crashes.artefacts import over_limit, parse_name
from kdumpd.errors import KdumpError
from kdumpd.host.folder import Folder
from kdumpd.host.mounts import Mount
from kdumpd.status.assess import Status, read_status
from kdumpd.status.boots import note_boot
from kdumpd.status.files import MachineFiles
from kdumpd.storage.volume import find_fault, shortage_bytes


def tell_armed(config: Config, mistakes: Sequence[str], *, root: Path = Path("/")) -> str:
    """Look whether this machine is armed, note this boot, make room; returns the line to print.

    Never raises: the boot goes on, whatever is wrong.

    Args:
        config: the settings that a run would have.
        mistakes: what is wrong with them.
        root: where the machine's root is seen.
    """
    try:
        status = read_status(config, root=root)
        if isinstance(status.facts.mount, Mount) and not find_fault(status.facts.mount, config.storage):
            note_boot(config, MachineFiles(root), armed=status.armed)
            make_room(config, root)
    except Exception as error:
        return f"kdumpd: not armed: internal-error {type(error).__name__}: {error}"
    return armed_line(status, mistakes)


def armed_line(status: Status, mistakes: Sequence[str]) -> str:
    """``kdumpd: armed``, or ``kdumpd: not armed: CODE TEXT``."""
    if mistakes:
        return f"kdumpd: not armed: wrong-config {mistakes[0]}"
    if status.reasons:
        return f"kdumpd: not armed: {status.reasons[0].code} {status.reasons[0].text}"
    return "kdumpd: armed"


def make_room(config: Config, root: Path) -> list[str]:
    """Remove the oldest dumps where EVE's boot would else empty the whole crash folder; returns their names.

    The newest stays, and so do logs and records. What cannot be removed is left: best effort. Blocking.
    """
    path = root / config.storage.mountpoint.lstrip("/") / config.dump.directory
    if config.storage.min_free_bytes != AUTO:
        return []
    try:
        folder = Folder.open(str(path))
    except (OSError, KdumpError):
        return []
    try:
        sizes_bytes = {entry.name: entry.size_bytes for entry in folder.entries()}
        gone = _dumps_over(sizes_bytes, shortage_bytes(folder.space()))
        for name in gone:
            folder.remove(name)
        folder.sync()
    except OSError:
        return []
    finally:
        folder.close()
    return gone


def _dumps_over(sizes_bytes: dict[str, int], shortage: int) -> list[str]:
    dumps = {name for name in sizes_bytes if (artefact := parse_name(name)) and artefact.kind == "dump"}
    total_bytes = sum(sizes_bytes[name] for name in dumps)
    return [name for name in over_limit(sizes_bytes, total_bytes - shortage) if name in dumps]
