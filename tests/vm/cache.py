"""Built things kept between runs: whole or absent, built by one process at a time."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = 3
UNUSED_DAYS = 30
DIGITS = 12

# Folders that this process uses, each with a shared lock on it.
_in_use: dict[Path, int] = {}


def home() -> Path:
    """The folder that everything built for tests is kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "kdumpd"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: bytes | str) -> str:
    """A short name for a recipe: the same parts in the same order give the same one."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:DIGITS]


def tree_digest(root: Path, pattern: str = "*") -> str:
    """A short name for the files under a folder: their names and contents."""
    files = sorted(path for path in root.rglob(pattern) if path.is_file())
    return digest(*(part for path in files for part in (str(path.relative_to(root)), path.read_bytes())))


def entry(name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name`, which ends in a digest of its recipe; `build` fills it if it is not there yet.

    A folder gets its name only when it is whole: a build that fails or is killed leaves none, and
    what it left under another name goes when the next of its kind is built. The folder stays while this
    process lives.
    """
    path = home() / name
    with locked(home() / f"{kind(path)}.lock"):
        if not path.exists():
            for leftover in home().glob(f".{kind(path)}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=home()) as work:
                made = Path(work) / "made"
                made.mkdir()
                build(made)
                made.rename(path)
        use(path)
        forget_older(kind(path))
    return path


def kind(path: Path) -> str:
    """What a folder is one of: its name without the digest."""
    return path.name.rpartition("-")[0]


def use(path: Path) -> None:
    """Mark a folder as the last one used of its kind, and keep it as long as this process lives."""
    os.utime(path)
    if path not in _in_use:
        _in_use[path] = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(_in_use[path], fcntl.LOCK_SH)


def forget_older(of_kind: str) -> None:
    """Remove all folders of a kind but the KEPT last used, and of any kind those unused for UNUSED_DAYS.

    What a process uses stays. The caller holds the lock of their kind.
    """
    for path in _by_age(of_kind)[:-KEPT]:
        _remove_unused(path)
    for path in _by_age("*"):
        if path.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
            _remove_unused(path)


def _by_age(of_kind: str) -> list[Path]:
    found = [path for path in home().glob(f"{of_kind}-{'[0-9a-f]' * DIGITS}") if path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _remove_unused(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the processes of this machine share."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
