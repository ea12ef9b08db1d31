"""The demo's crash folder, kept for who wants to look at it."""

import shutil
from pathlib import Path

from . import cache

KEPT = 3


def keep(persist: Path, target: Path | None) -> Path:
    """Copy the crash folder of a run into `target`, or under the cache by the crash's time, where three stay.

    Args:
        persist: what was on P3.
        target: a folder that is not there, or empty.

    Raises:
        RuntimeError: nothing was collected.
    """
    source = persist / "kcrashes"
    records = sorted(source.glob("crash-*.json"))
    if not records:
        raise RuntimeError("kdumpd collected nothing; the console above says why")
    folder = target or _home() / records[-1].stem.removeprefix("crash-")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    if target is None:
        _forget_older()
    return folder


def _home() -> Path:
    return cache.home() / "demo"


def _forget_older() -> None:
    for folder in sorted(_home().iterdir())[:-KEPT]:
        shutil.rmtree(folder)
