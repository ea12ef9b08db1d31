"""Built things kept between runs: whole or absent, built by one process at a time."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNUSED_DAYS = 30
DIGITS = 12


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
    """The folder `name`; `build` fills it if it is not there yet.

    A folder gets its name only when it is whole: a build that fails or is killed leaves none, and
    what it left under another name goes when the next build of the same starts. What nobody has used
    for UNUSED_DAYS goes when something is built.
    """
    path = home() / name
    with _locked(home() / f"{name}.lock"):
        if not path.exists():
            print(f"building {path}", file=sys.stderr, flush=True)
            for leftover in home().glob(f".{name}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=home()) as work:
                made = Path(work) / "made"
                made.mkdir()
                build(made)
                made.rename(path)
            _forget_unused()
        os.utime(path)
    return path


def _forget_unused() -> None:
    for path in home().glob("*-" + "[0-9a-f]" * DIGITS):
        if path.is_dir() and path.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
