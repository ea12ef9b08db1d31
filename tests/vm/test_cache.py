"""What is kept between runs: built once and whole, the newest few of a kind, never without what is in use."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import cache

DAY_S = 86400


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache.home()


def left_by_others(home: Path, name: str, *, age_s: float) -> Path:
    """A folder that another process has built, and last used so long ago."""
    path = home / name
    path.mkdir()
    (path / "file").touch()
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path


@contextmanager
def used_by_another(path: Path) -> Iterator[None]:
    folder = os.open(path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(folder)


def names(home: Path) -> set[str]:
    return {path.name for path in home.iterdir() if path.is_dir()}


def digit(number: int) -> str:
    return f"{number:012x}"


def test_a_folder_is_built_once() -> None:
    built: list[Path] = []
    first = cache.entry(f"thing-{digit(1)}", built.append)
    assert cache.entry(f"thing-{digit(1)}", built.append) == first
    assert len(built) == 1


def test_a_build_that_fails_leaves_nothing_and_may_be_tried_again(home: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.entry(f"thing-{digit(2)}", fail)
    assert names(home) == set()
    assert list(cache.entry(f"thing-{digit(2)}", lambda folder: None).iterdir()) == []


def test_what_a_killed_build_left_goes(home: Path) -> None:
    (home / f".thing-{digit(8)}.abcd").mkdir()
    cache.entry(f"thing-{digit(3)}", lambda folder: None)
    assert names(home) == {f"thing-{digit(3)}"}


def test_the_last_used_of_a_kind_stay(home: Path) -> None:
    for number in range(10, 15):
        left_by_others(home, f"thing-{digit(number)}", age_s=number)
    left_by_others(home, f"other-thing-{digit(1)}", age_s=100)
    cache.entry(f"thing-{digit(4)}", lambda folder: None)
    assert names(home) == {
        *(f"thing-{digit(number)}" for number in (4, 10, 11)),
        f"other-thing-{digit(1)}",
    }


def test_what_is_used_by_anyone_stays(home: Path) -> None:
    oldest = left_by_others(home, f"thing-{digit(30)}", age_s=31 * DAY_S)
    for number in range(20, 25):
        left_by_others(home, f"thing-{digit(number)}", age_s=number)
    with used_by_another(oldest):
        cache.entry(f"thing-{digit(5)}", lambda folder: None)
    assert names(home) == {f"thing-{digit(number)}" for number in (5, 20, 21, 30)}
    for number in range(60, 70):
        os.utime(left_by_others(home, f"thing-{digit(number)}", age_s=0))
    cache.entry(f"thing-{digit(6)}", lambda folder: None)
    assert f"thing-{digit(5)}" in names(home)


def test_what_nobody_uses_goes_after_a_while(home: Path) -> None:
    left_by_others(home, f"other-{digit(1)}", age_s=31 * DAY_S)
    left_by_others(home, f"other-{digit(2)}", age_s=29 * DAY_S)
    cache.entry(f"thing-{digit(7)}", lambda folder: None)
    assert names(home) == {f"thing-{digit(7)}", f"other-{digit(2)}"}
