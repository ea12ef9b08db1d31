"""The newest crash in a crash folder: from its record, else from its files' names."""

import json
from pathlib import Path

import pytest
from tests.machines import CRASH

from kdumpd.crashes.record import CrashRecord, Log
from kdumpd.dump.verdict import Verdict
from kdumpd.status.files import MachineFiles, Unknown
from kdumpd.status.lastcrash import LastCrash, find_crashes

STAMP = "20261123T014039Z"
RECORD = {
    "schema": 1,
    "stamp": STAMP,
    "reason": CRASH.reason,
    "cause": "sysrq",
    "title": "sysrq: Trigger a crash",
    "dump": {"state": "complete"},
}


def crashes(root: Path, *names: str, record: str | bytes = json.dumps(RECORD)) -> LastCrash | Unknown | None:
    folder = root / "kcrashes"
    folder.mkdir()
    content = record if isinstance(record, bytes) else record.encode()
    for name in names:
        (folder / name).write_bytes(content if name.endswith(".json") else b"")
    found = find_crashes(MachineFiles(root), "/kcrashes")
    return found if isinstance(found, Unknown) else next(iter(found), None)


def test_last_crash_is_what_its_record_says(tmp_path: Path) -> None:
    assert crashes(tmp_path, *CRASH.files) == CRASH


def test_record_as_kdumpd_writes_it_is_understood(tmp_path: Path) -> None:
    written = CrashRecord(
        stamp=STAMP,
        crash_time_s=None,
        reason="why",
        cause="oops",
        title="BUG",
        log=Log(name=None, size_bytes=0, tool=None),
        dump_name=None,
        dump=Verdict(state="incomplete"),
    )
    found = crashes(tmp_path, f"crash-{STAMP}.json", record=written.to_json())
    assert isinstance(found, LastCrash)
    assert (found.reason, found.cause, found.title, found.dump_state) == ("why", "oops", "BUG", "incomplete")


def test_newest_crash_counts_although_it_has_no_record(tmp_path: Path) -> None:
    newer = "dmesg-20261124T000000Z.log"
    assert crashes(tmp_path, *CRASH.files, newer, "zzz.txt") == LastCrash(
        stamp="20261124T000000Z", files=(newer,)
    )


def test_second_crash_of_the_same_second_is_the_last(tmp_path: Path) -> None:
    found = crashes(tmp_path, *CRASH.files, f"dmesg-{STAMP}-2.log")
    assert found == LastCrash(stamp=f"{STAMP}-2", files=(f"dmesg-{STAMP}-2.log",))


def test_names_that_eve_gave_count(tmp_path: Path) -> None:
    found = crashes(tmp_path, "dmesg-2027-01-01T00:00:00+00:00.log", *CRASH.files)
    assert isinstance(found, LastCrash)
    assert found.stamp == "2027-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        b"\xff\xfe",
        "[1]",
        "null",
        "[" * 100_000,
        '{"dump": [], "reason": 7, "cause": null, "title": {}}',
        '{"dump": {"state": 1}}',
    ],
)
def test_damaged_record_leaves_the_names(tmp_path: Path, record: str | bytes) -> None:
    assert crashes(tmp_path, *CRASH.files, record=record) == LastCrash(stamp=STAMP, files=CRASH.files)


def test_empty_crash_folder(tmp_path: Path) -> None:
    assert crashes(tmp_path, "note.txt") is None


def test_crash_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "kcrashes").write_text("")
    assert find_crashes(MachineFiles(tmp_path), "/kcrashes") == Unknown(
        source="/kcrashes", why="Not a directory"
    )


def test_no_crash_folder(tmp_path: Path) -> None:
    assert find_crashes(MachineFiles(tmp_path), "/kcrashes") == ()
