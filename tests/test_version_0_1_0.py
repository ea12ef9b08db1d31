"""What version 0.1.0 left stays readable: EVE goes back and forth between two images."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kdumpd.cli.main import main
from kdumpd.config import load_config
from kdumpd.status.files import MachineFiles
from kdumpd.status.lastcrash import find_crashes

DATA = Path(__file__).parent / "data/version-0.1.0"
LISTED = json.loads((DATA / "list.json").read_text())["crashes"]
STAMPS = [crash["stamp"] for crash in LISTED]
HALF = ".kdumpd-kdump-20261129T014039Z.dump.tmp"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's root with a copy of persist."""
    shutil.copytree(DATA / "persist", tmp_path / "persist")
    return tmp_path


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "persist/kcrashes"


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert (exited.value.code, printed.err) == (0, "")
    return printed.out


def require_all_of(old: Any, new: Any) -> None:
    """All that was said then is said now; there may be more."""
    if isinstance(old, dict):
        for key, value in old.items():
            require_all_of(value, new[key])
    else:
        assert new == old


def test_the_five_crashes_are_listed_as_they_were(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    now = json.loads(said(capsys, "list", folder, "--json"))["crashes"]
    assert [crash["dump"] for crash in now] == ["complete", "incomplete", "complete", "none", "none"]
    for old, new in zip(LISTED, now, strict=True):
        paths = {kind: str(folder.parent / path) for kind, path in old["files"].items()}
        require_all_of(old | {"files": paths}, new)
    table = said(capsys, "list", folder)
    assert [line.split()[0] for line in table.splitlines()[1:6]] == STAMPS
    assert HALF in table


@pytest.mark.parametrize("stamp", STAMPS)
def test_each_record_is_shown_whole(capsys: pytest.CaptureFixture[str], folder: Path, stamp: str) -> None:
    shown = json.loads(said(capsys, "show", stamp, "--folder", folder, "--json"))
    assert shown["from_record"]
    assert shown["problems"] == []
    require_all_of(json.loads((folder / f"crash-{stamp}.json").read_bytes()), shown["record"])
    text = said(capsys, "show", stamp, "--folder", folder)
    assert shown["record"]["reason"] in text


def test_without_records_the_files_alone_tell(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for record in folder.glob("crash-*.json"):
        record.unlink()
    now = json.loads(said(capsys, "list", folder, "--json"))["crashes"]
    assert [crash["stamp"] for crash in now] == STAMPS[:-1]
    assert [crash["dump"] for crash in now] == ["complete", "incomplete", "complete", "none"]
    # The function is what today's analysis names, which knows locks and waits for what they are.
    assert [crash["cause"] for crash in now] == [crash["cause"] for crash in LISTED[:-1]]


def test_a_bundle_is_shown(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    shown = json.loads(said(capsys, "show", DATA / "crash.tar", "--json"))
    assert shown["dump"] == "incomplete"
    require_all_of(json.loads((folder / "crash-20261126T014039Z.json").read_bytes()), shown["record"])


def test_prune_takes_the_oldest(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    removed = json.loads(said(capsys, "prune", folder, "--dumps", "1", "--logs", "2", "--json"))["removed"]
    assert sorted(removed) == sorted(
        [
            HALF,
            "kdump-20261125T014039Z.dump",
            "kdump-20261126T014039Z.dump",
            "dmesg-20261124T014039Z.log",
            "dmesg-20261125T014039Z.log",
            "crash-20261124T014039Z.json",
            "crash-20261125T014039Z.json",
        ]
    )


def test_status_tells_the_last_crash(root: Path) -> None:
    crashes = find_crashes(MachineFiles(root=root), "/persist/kcrashes")
    assert isinstance(crashes, tuple)
    found = crashes[0]
    assert (found.stamp, found.cause, found.dump_state) == (STAMPS[0], "null-dereference", "complete")
    assert found.reason is not None
    assert f"{found.reason}\n" == (root / "persist/reboot-reason").read_text()


@pytest.mark.parametrize("name", ["shipped.toml", "every-key.toml"])
def test_a_configuration_means_what_it_meant(name: str) -> None:
    config = load_config(DATA / name)
    written = tomllib.loads((DATA / name).read_text())
    for section, values in written.items():
        for key, value in values.items():
            expected = tuple(value) if isinstance(value, list) else value
            assert getattr(getattr(config, section), key) == expected, f"{section}.{key}"
