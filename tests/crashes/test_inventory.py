"""The crashes in a folder: joined by stamp, described without a record, bad files named."""

import os
from pathlib import Path

import attrs
import pytest
from tests import crashfiles
from tests.crashfiles import CRASH_TIME_S, DUMP

from kdumpd.crashes.inventory import LATEST, Crash, find_crash, read_folder, read_log, times_seen
from kdumpd.errors import StorageError


def only(folder: Path) -> Crash:
    (crash,) = read_folder(folder)
    return crash


def test_an_empty_folder_has_no_crash(tmp_path: Path) -> None:
    assert read_folder(tmp_path) == ()


def test_the_files_of_a_crash_are_joined(tmp_path: Path) -> None:
    stamp = crashfiles.leave(tmp_path)
    crash = only(tmp_path)
    assert crash.stamp == crash.record.stamp == stamp
    assert {kind: file.path.name for kind, file in crash.files.items()} == {
        "record": f"crash-{stamp}.json",
        "dump": f"kdump-{stamp}.dump",
        "log": f"dmesg-{stamp}.log",
    }
    assert crash.from_record
    assert (crash.dump_state, crash.problems) == ("complete", ())
    assert crash.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert read_log(crash) == (crashfiles.LOGS / crashfiles.NULL).read_bytes()


def test_the_newest_crash_is_first(tmp_path: Path) -> None:
    stamps = [crashfiles.leave(tmp_path, time_s=CRASH_TIME_S + second) for second in (0, 7200, 3600)]
    (tmp_path / "notes.txt").write_text("not a crash's")
    assert [crash.stamp for crash in read_folder(tmp_path)] == [stamps[1], stamps[2], stamps[0]]


def test_without_a_record_dump_and_log_tell_the_same(tmp_path: Path) -> None:
    stamp = crashfiles.leave(tmp_path)
    with_record = only(tmp_path).record
    (tmp_path / f"crash-{stamp}.json").unlink()
    crash = only(tmp_path)
    assert not crash.from_record
    assert crash.problems == ("there is no crash record; this is read from the files",)
    log = attrs.evolve(with_record.log, tool=None)
    assert crash.record == attrs.evolve(with_record, reason="", phases=(), tools={}, log=log)


def test_eves_own_older_names_are_crashes(tmp_path: Path) -> None:
    (tmp_path / "kdump-2026-11-23T01:40:39+00:00.dump").write_bytes(DUMP)
    log = (crashfiles.LOGS / crashfiles.SYSRQ).read_bytes()
    (tmp_path / "dmesg-2026-11-23T01:40:39+00:00.log").write_bytes(log)
    crash = only(tmp_path)
    assert (crash.record.cause, crash.dump_state) == ("sysrq", "complete")
    assert crash.record.crash_time_s == CRASH_TIME_S
    assert find_crash("2026-11-23T01:40:39+00:00", tmp_path) == crash


def test_a_dump_alone_tells_kernel_and_state(tmp_path: Path) -> None:
    crashfiles.leave(tmp_path)
    for kind in ("record", "log"):
        only(tmp_path).files[kind].path.unlink()
    crash = only(tmp_path)
    assert (crash.record.cause, crash.record.release) == ("unknown", "6.12.49-linuxkit")
    assert (crash.record.build_id, crash.dump_state) == (crashfiles.BUILD_ID, "complete")


def test_a_log_alone_tells_cause_and_no_dump(tmp_path: Path) -> None:
    stamp = crashfiles.leave(tmp_path, dump=b"")
    (tmp_path / f"crash-{stamp}.json").unlink()
    crash = only(tmp_path)
    assert (crash.record.cause, crash.dump_state) == ("null-dereference", "none")
    assert crash.record.crash_time_s is None


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": 1}', b'{"schema": 9, "stamp": 7}'])
def test_a_damaged_record_is_said_and_replaced(tmp_path: Path, damage: bytes) -> None:
    stamp = crashfiles.leave(tmp_path)
    (tmp_path / f"crash-{stamp}.json").write_bytes(damage)
    crash = only(tmp_path)
    assert not crash.from_record
    assert crash.record.cause == "null-dereference"
    (problem,) = crash.problems
    assert problem.startswith(f"crash-{stamp}.json: ")
    assert problem.endswith("; this is read from the other files")


def test_a_newer_record_is_said_and_used(tmp_path: Path) -> None:
    crashfiles.leave(tmp_path)
    crashfiles.rewrite(tmp_path, schema=2)
    crash = only(tmp_path)
    assert crash.from_record
    assert "of a newer kdumpd" in crash.problems[0]


def test_a_dump_that_is_not_as_recorded_is_damaged(tmp_path: Path) -> None:
    stamp = crashfiles.leave(tmp_path)
    dump = tmp_path / f"kdump-{stamp}.dump"
    dump.write_bytes(DUMP[:-1])
    crash = only(tmp_path)
    assert crash.dump_state == "damaged"
    assert crash.problems == (f"{dump.name} has {len(DUMP) - 1} bytes, the record says {len(DUMP)}",)


def test_a_dump_that_is_gone_is_missing(tmp_path: Path) -> None:
    stamp = crashfiles.leave(tmp_path)
    (tmp_path / f"kdump-{stamp}.dump").unlink()
    crash = only(tmp_path)
    assert crash.dump_state == "missing"
    assert crash.problems == (f"the record names kdump-{stamp}.dump, which is not here",)


def test_a_dump_that_is_none_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "kdump-20261123T014039Z.dump").write_bytes(b"\0" * 100)
    crash = only(tmp_path)
    assert crash.dump_state == "damaged"
    assert "the file ends before byte 464" in crash.problems[1]


def test_a_cut_dump_without_a_record_is_incomplete(tmp_path: Path) -> None:
    (tmp_path / "kdump-20261123T014039Z.dump").write_bytes(DUMP[:-1])
    crash = only(tmp_path)
    assert (crash.dump_state, crash.record.dump.why) == ("incomplete", "pages are missing")


def test_links_and_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "dmesg-20261123T014039Z.log").symlink_to(tmp_path / "secret")
    (tmp_path / "kdump-20261123T014039Z.dump").mkdir()
    assert read_folder(tmp_path) == ()


def test_fingerprints_are_counted(tmp_path: Path) -> None:
    for hour, log in enumerate((crashfiles.NULL, crashfiles.SYSRQ, crashfiles.NULL)):
        crashfiles.leave(tmp_path, time_s=CRASH_TIME_S + 3600 * hour, log=log)
    found = read_folder(tmp_path)
    assert [times_seen(found)[crash.record.fingerprint] for crash in found] == [2, 1, 2]


def test_a_crash_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    old = crashfiles.leave(tmp_path)
    new = crashfiles.leave(tmp_path, time_s=CRASH_TIME_S + 60)
    assert find_crash(LATEST, tmp_path).stamp == new
    assert find_crash(old, tmp_path).stamp == old
    assert find_crash(str(tmp_path), Path("/nowhere")).stamp == new
    for name in (f"kdump-{old}.dump", f"dmesg-{old}.log", f"crash-{old}.json"):
        assert find_crash(str(tmp_path / name), Path("/nowhere")).stamp == old


def test_a_file_with_another_name_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "from-customer").write_bytes(DUMP)
    (tmp_path / "dmesg.txt").write_bytes((crashfiles.LOGS / crashfiles.SYSRQ).read_bytes())
    assert find_crash(str(tmp_path / "from-customer"), tmp_path).record.build_id == crashfiles.BUILD_ID
    assert find_crash(str(tmp_path / "dmesg.txt"), tmp_path).record.cause == "sysrq"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("latest", "there is no crash in"),
        ("20261123T014039Z", "is neither a file nor a crash in"),
        ("/no/such/file", "no such file or folder"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(StorageError, match=why):
        find_crash(name, tmp_path)


def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be listed: No such file or directory"):
        read_folder(tmp_path / "nowhere")


def test_a_name_that_is_no_text_is_survived(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/dmesg-\xff.log"))).touch()
    assert read_folder(tmp_path) == ()
