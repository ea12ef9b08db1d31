"""What a run left on /persist, for a person."""

from pathlib import Path

from .disk import PersistDisk


def report(persist: PersistDisk, folder: Path) -> str:
    """The tree with sizes, then the small files in full; `folder` is made to copy P3 into."""
    root = persist.extract(folder)
    files = sorted(path for path in root.rglob("*") if path.name != "lost+found")
    tree = [_entry(path, root) for path in files]
    reasons = [_reason(root / name) for name in ("boot-reason", "reboot-reason") if (root / name).exists()]
    fault = persist.fault()
    return "\n".join(["/persist:", *tree, "", *reasons, f"file system: {fault or 'clean'}"])


def _entry(path: Path, root: Path) -> str:
    status = path.stat()
    size = "" if path.is_dir() else f"{status.st_size:,}"
    return f"  {status.st_mode & 0o7777:04o} {size:>15}  /persist/{path.relative_to(root)}"


def _reason(path: Path) -> str:
    return f"/persist/{path.name}: {path.read_text().rstrip()}"
