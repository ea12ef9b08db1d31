"""What ``kdumpd run`` does in a system kernel beside its one line."""

import os
from pathlib import Path

import pytest
from tests.machines import ARMED, UNLOADED

from kdumpd.cli.armed import armed_line, make_room, tell_armed
from kdumpd.config import Config, StorageSettings
from kdumpd.status.assess import assess
from kdumpd.storage import volume

CRASHES = ("20261123T014039Z", "20261124T014039Z", "20261125T014039Z")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A crash folder with three crashes whose dumps have 1000 bytes, and a file of somebody else."""
    path = tmp_path / "persist/kcrashes"
    path.mkdir(parents=True)
    for stamp in CRASHES:
        (path / f"kdump-{stamp}.dump").write_bytes(b"x" * 1000)
        (path / f"dmesg-{stamp}.log").write_bytes(b"x" * 1000)
        (path / f"crash-{stamp}.json").write_bytes(b"{}")
    (path / "notes.txt").write_text("mine")
    return path


def with_free(monkeypatch: pytest.MonkeyPatch, folder: Path, *, missing_bytes: int) -> None:
    """Let EVE's limit be so much above what is free on the volume of the folder, however large that is."""
    room = os.statvfs(folder)
    monkeypatch.setattr(volume, "_EVE_VOLUME_BYTES", 1)
    monkeypatch.setattr(volume, "_EVE_LEAST_BYTES", room.f_bavail * room.f_frsize + missing_bytes)


def test_the_line() -> None:
    assert armed_line(assess(ARMED), ()) == "kdumpd: armed"
    why = "no capture kernel is loaded: /run/kdumpd/load has no result of this boot"
    assert armed_line(assess(UNLOADED), ()) == f"kdumpd: not armed: nothing-loaded {why}"
    wrong = "f.toml: dump.level: must be 0 to 31, not 99"
    assert armed_line(assess(ARMED), (wrong,)) == f"kdumpd: not armed: wrong-config {wrong}"


def test_the_oldest_dumps_go_before_eve_takes_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    before = len(list(folder.iterdir()))
    with_free(monkeypatch, folder, missing_bytes=1 << 40)
    assert make_room(Config(), tmp_path) == [f"kdump-{stamp}.dump" for stamp in CRASHES[:2]]
    assert (folder / f"kdump-{CRASHES[2]}.dump").exists()
    assert len(list(folder.iterdir())) == before - 2


@pytest.mark.parametrize("floor", [0, 1 << 30])
def test_who_sets_what_stays_free_keeps_all_dumps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, floor: int
) -> None:
    with_free(monkeypatch, folder, missing_bytes=1 << 40)
    assert make_room(Config(storage=StorageSettings(min_free_bytes=floor)), tmp_path) == []


def test_where_there_is_room_nothing_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    with_free(monkeypatch, folder, missing_bytes=-(1 << 40))
    assert make_room(Config(), tmp_path) == []
    assert make_room(Config(storage=StorageSettings(mountpoint="/nowhere")), tmp_path) == []


def test_whatever_goes_wrong_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("kdumpd.cli.armed.read_status", fail)
    assert tell_armed(Config(), (), root=tmp_path) == "kdumpd: not armed: internal-error RuntimeError: a bug"
