"""What a run left on /persist, for a person."""

from pathlib import Path

from kdumpd.dump import kdumpfile

from .disk import PersistDisk

REASONS = ("boot-reason", "reboot-reason")


def report(persist: PersistDisk, folder: Path) -> str:
    """The tree with modes and sizes, the reason files, and what each dump's header says.

    Args:
        persist: the disk.
        folder: made, to copy P3 into.
    """
    root = persist.extract(folder)
    files = sorted(path for path in root.rglob("*") if path.name != "lost+found")
    reasons = [_reason(root / name) for name in REASONS if (root / name).exists()]
    dumps = [_dump(path) for path in files if path.suffix == ".dump"]
    state = f"file system: {persist.fault() or 'clean'}"
    return "\n".join(["/persist:", *(_entry(path, root) for path in files), "", *reasons, *dumps, state])


def _entry(path: Path, root: Path) -> str:
    status = path.stat()
    size = "" if path.is_dir() else f"{status.st_size:,}"
    return f"  {status.st_mode & 0o7777:04o} {size:>15}  /persist/{path.relative_to(root)}"


def _reason(path: Path) -> str:
    return f"{path.name}: {path.read_text().rstrip()}"


def _dump(path: Path) -> str:
    with path.open("rb") as file:
        checked = kdumpfile.check(file.fileno())
    header = checked.header
    state = "complete" if checked.complete else "incomplete"
    return (
        f"dump header: Linux {header.release} on {header.machine}, level {header.dump_level}, "
        f"{header.compression}, {state}: {checked.pages:,} of {header.max_mapnr:,} pages"
    )
