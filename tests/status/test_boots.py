"""The capture that never came: an armed boot that ended without a word."""

import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.config import Config, StorageSettings
from kdumpd.status.boots import BOOT_ID, NAME, Boot, next_boot, note_boot, read_boot
from kdumpd.status.files import MachineFiles

ARMED_BOOT = Boot(boot="one", armed=True, capture_missed=False)


@pytest.mark.parametrize(
    ("last", "explained", "missed"),
    [
        (ARMED_BOOT, False, True),
        (ARMED_BOOT, True, False),
        (attrs.evolve(ARMED_BOOT, armed=False), False, False),
        (attrs.evolve(ARMED_BOOT, capture_missed=True), True, False),
        (None, False, False),
    ],
)
def test_an_armed_boot_that_nobody_explains(last: Boot | None, explained: bool, missed: bool) -> None:
    noted = next_boot(last, boot="two", armed=True, explained=explained)
    assert noted == Boot(boot="two", armed=True, capture_missed=missed)


def test_in_one_boot_the_first_look_counts() -> None:
    first = next_boot(ARMED_BOOT, boot="two", armed=False, explained=False)
    again = next_boot(first, boot="two", armed=True, explained=True)
    assert (first.capture_missed, again.capture_missed, again.armed) == (True, True, True)


class Device:
    """A device over its boots: a folder with its persist, and what a boot id is."""

    def __init__(self, root: Path) -> None:
        self.machine = MachineFiles(root)
        self.persist = root / "persist"
        self.persist.mkdir()
        (root / BOOT_ID.lstrip("/")).parent.mkdir(parents=True)
        self.boots = 0

    def boot(self, *, reason: str = "") -> Boot | None:
        """Boot with this in reboot-reason, which EVE reads and takes away after kdumpd ran."""
        self.boots += 1
        self.machine.path(BOOT_ID).write_text(f"boot-{self.boots}\n")
        if reason:
            (self.persist / "reboot-reason").write_text(reason)
        note_boot(Config(), self.machine, armed=True)
        (self.persist / "reboot-reason").unlink(missing_ok=True)
        return read_boot(self.machine, "/persist/kcrashes")


def test_a_device_over_its_boots(tmp_path: Path) -> None:
    device = Device(tmp_path)
    missed = [
        noted.capture_missed if (noted := device.boot(reason=reason)) else None
        for reason in ("", "update\n", "", "kernel panic, kdump collected: x\n", "")
    ]
    assert missed == [False, False, True, False, True]
    assert (device.persist / "kcrashes" / NAME).stat().st_mode & 0o777 == 0o600


def test_a_crash_folder_that_eve_has_emptied_is_no_missed_capture(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.boot()
    (device.persist / "kcrashes" / NAME).unlink()
    noted = device.boot()
    assert noted is not None
    assert not noted.capture_missed


def test_where_nothing_can_be_written_nothing_is_said(tmp_path: Path) -> None:
    machine = MachineFiles(tmp_path)
    note_boot(Config(), machine, armed=True)
    Device(tmp_path).machine.path(BOOT_ID).write_text("one")
    note_boot(Config(storage=StorageSettings(mountpoint="/nowhere")), machine, armed=True)
    assert not (tmp_path / "nowhere").exists()


@given(
    st.binary(max_size=60)
    | st.builds(
        json.dumps,
        st.dictionaries(
            st.sampled_from(["boot", "armed", "capture_missed"]), st.integers() | st.text() | st.booleans()
        ),
    ).map(str.encode)
)
def test_a_damaged_note_is_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / NAME).write_bytes(data)
    noted = read_boot(MachineFiles(folder), "/")
    assert noted is None or isinstance(noted.boot, str)
