"""list, show, prune, export as a person meets them: tables, JSON, one line for what is wrong."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests import crashfiles, makedump, makestream
from tests.analysis import makeelf
from tests.crashfiles import CRASH_TIME_S

from kdumpd.cli.main import main

WRONG = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "kcrashes"
    path.mkdir()
    for hour, log in enumerate((crashfiles.NULL, crashfiles.SYSRQ, crashfiles.NULL)):
        crashfiles.leave(path, time_s=CRASH_TIME_S + 3600 * hour, log=log)
    return path


class Command:
    """Runs a command; what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str | Path) -> str:
        code, out, err = self.end(*arguments)
        assert (code, err) == (0, "")
        return out

    def end(self, *arguments: str | Path) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        printed = self.capsys.readouterr()
        return exited.value.code, printed.out, printed.err

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self(*arguments, "--json"))

    def wrong(self, *arguments: str | Path) -> str:
        code, out, err = self.end(*arguments)
        assert (code, out, err.count("\n")) == (WRONG, "", 1)
        assert err.startswith("kdumpd: ")
        return err


@pytest.fixture
def kdumpd(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_list_is_a_table_newest_first(kdumpd: Command, folder: Path) -> None:
    head, *lines = kdumpd("list", folder).splitlines()
    assert head.split() == ["CRASH", "CAUSE", "KERNEL", "DUMP", "SIZE", "GROUP", "FINGERPRINT", "SEEN"]
    assert [line.split("  ")[1] for line in lines] == [
        "null-dereference in kdtest_write_null",
        "sysrq in sysrq_handle_crash",
        "null-dereference in kdtest_write_null",
    ]
    assert [line.split()[-1] for line in lines] == ["2", "1", "2"]
    assert all("6.12.49-linuxkit  complete" in line for line in lines)


def test_list_of_nothing_says_so(kdumpd: Command, tmp_path: Path) -> None:
    assert kdumpd("list", tmp_path) == f"no crash in {tmp_path}\n"
    assert kdumpd.json("list", tmp_path) == {"crashes": [], "left_over": []}


HALF = ".kdumpd-kdump-20261123T014039Z.dump.tmp"


@pytest.mark.parametrize("half", [HALF, HALF.replace(".tmp", ".1234.tmp")])
def test_what_an_interrupted_run_left_is_listed_and_pruned(kdumpd: Command, folder: Path, half: str) -> None:
    (folder / half).write_bytes(bytes(3 << 20))
    (folder / "link.tmp").symlink_to("/etc/passwd")
    (folder / ".kdumpd-link.tmp").symlink_to("/etc/passwd")
    assert kdumpd("list", folder).splitlines()[4:] == [f"left over of an interrupted run: {half}, 3.0 MiB"]
    (left,) = kdumpd.json("list", folder)["left_over"]
    assert left == {"path": str(folder / half), "size_bytes": 3 << 20}
    assert kdumpd("prune", folder, "--dry-run") == f"would remove {folder / half}\n"
    assert kdumpd("prune", folder) == f"removed {folder / half}\n"
    assert kdumpd.json("list", folder)["left_over"] == []
    assert kdumpd("prune", folder) == f"nothing to remove in {folder}\n"


def test_left_over_files_alone_are_listed_too(kdumpd: Command, tmp_path: Path) -> None:
    (tmp_path / HALF).touch()
    assert kdumpd("list", tmp_path) == (
        f"no crash in {tmp_path}\nleft over of an interrupted run: {HALF}, 0 B\n"
    )


def test_list_as_json(kdumpd: Command, folder: Path) -> None:
    listed = kdumpd.json("list", folder)["crashes"]
    assert [crash["seen"] for crash in listed] == [2, 1, 2]
    assert listed[1]["cause"] == "sysrq"
    assert listed[0]["crash_time_s"] == CRASH_TIME_S + 7200
    assert Path(listed[0]["files"]["dump"]).is_file()


def test_show_is_the_whole_crash(kdumpd: Command, folder: Path) -> None:
    shown = kdumpd("show", "latest", "--folder", folder)
    for text in (
        "null-dereference in kdtest_write_null",
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "6.12.49-linuxkit, build id 3b43fad5034874490492495d552c0af6a5fab235",
        ", seen 2 times here",
        " KiB, zlib, level 31, 5 of 5 pages: kdump-",
        "    2.60 s      9.30 s  dump",
        "Call Trace:",
    ):
        assert text in shown


def test_show_as_json_has_the_record(kdumpd: Command, folder: Path) -> None:
    shown = kdumpd.json("show", folder)
    assert shown["record"]["cause"] == "null-dereference"
    assert len(shown["seen"]) == 2
    assert shown["dump"] == "complete"


def test_a_bundle_is_listed_and_shown_as_it_is(kdumpd: Command, folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "crash.tar.zst"
    said = kdumpd("export", "latest", bundle, "--folder", folder)
    assert str(bundle) in said
    newest = kdumpd.json("list", folder)["crashes"][0]
    (listed,) = kdumpd.json("list", bundle)["crashes"]
    same = ("stamp", "cause", "fingerprint", "dump", "size_bytes", "problems")
    assert {key: listed[key] for key in same} == {key: newest[key] for key in same}
    assert (
        kdumpd.json("show", bundle)["record"] == kdumpd.json("show", "latest", "--folder", folder)["record"]
    )


def test_prune_keeps_the_newest(kdumpd: Command, folder: Path) -> None:
    (folder / "notes.txt").touch()
    newest = [crash["stamp"] for crash in kdumpd.json("list", folder)["crashes"]]
    planned = kdumpd("prune", folder, "--dumps", "1", "--logs", "2", "--dry-run")
    assert planned.count("would remove ") == 4
    assert len(list(folder.iterdir())) == 10
    removed = kdumpd.json("prune", folder, "--dumps", "1", "--logs", "2")["removed"]
    assert len(removed) == 4
    left = kdumpd.json("list", folder)["crashes"]
    assert [(crash["stamp"], crash["dump"]) for crash in left] == [
        (newest[0], "complete"),
        (newest[1], "missing"),
    ]
    assert (folder / "notes.txt").exists()
    assert kdumpd("prune", folder) == f"nothing to remove in {folder}\n"


def test_prune_keeps_all_dumps_within_a_quarter_of_the_volume(kdumpd: Command, folder: Path) -> None:
    dumps = sorted(folder.glob("*.dump"))
    room = os.statvfs(folder)
    os.truncate(dumps[1], min(20 << 30, room.f_blocks * room.f_frsize // 4))
    planned = kdumpd("prune", folder, "--dry-run").splitlines()
    assert planned == [f"would remove {dump}" for dump in dumps[:2]]


def test_what_a_terminal_would_obey_is_shown_by_number(kdumpd: Command, tmp_path: Path) -> None:
    crashfiles.leave(tmp_path)
    crashfiles.rewrite(tmp_path, title="\x1b[2Jgone\nforged line", warnings=("\x07\ud800",))
    shown = kdumpd("show", tmp_path)
    assert "\\x1b[2Jgone forged line" in shown
    assert shown.isascii()
    assert not set(shown) & {"\x1b", "\x07"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "/nonexistent"),
        ("show", "latest", "--folder", "/nonexistent"),
        ("show", "20200101T000000Z", "--folder", "."),
        ("show", "/nonexistent/file"),
        ("export", "latest", "x.tar.zst", "--folder", "/nonexistent"),
        ("prune", "/nonexistent"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    kdumpd: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    kdumpd.wrong(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_bundle_cannot_be_listed(kdumpd: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no bundle")
    assert f"{tmp_path}/file: " in kdumpd.wrong("list", tmp_path / "file")


def test_prune_refuses_a_count_that_is_none(kdumpd: Command, folder: Path) -> None:
    code, out, err = kdumpd.end("prune", folder, "--dumps", "-1")
    assert (code, out) == (WRONG, "")
    assert "Traceback" not in err
    assert len(list(folder.iterdir())) == 9


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinux"
    path.write_bytes(makeelf.kernel())
    return path


def test_analyze_names_what_is_wrong_in_one_line(kdumpd: Command, folder: Path, vmlinux: Path) -> None:
    debug = ("--debug", vmlinux)
    assert "no such file or folder" in kdumpd.wrong("analyze", folder, "--debug", "/nonexistent")
    assert "--html needs drgn" in kdumpd.wrong(
        "analyze", folder, *debug, "--with", "crash", "--html", "x.html"
    )
    oldest, *_, newest = sorted(folder.glob("*.dump"))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert f"{newest}: the dump is truncated: 4 of 5 pages" in kdumpd.wrong("analyze", folder, *debug)
    vmlinux.write_bytes(makeelf.kernel("ab" * 20))
    wrong = kdumpd.wrong("analyze", oldest, *debug)
    assert "ab" * 20 in wrong
    assert crashfiles.BUILD_ID in wrong


def test_analyze_of_a_hostile_bundle_writes_nothing(kdumpd: Command, vmlinux: Path, tmp_path: Path) -> None:
    listed = tarfile.TarInfo("manifest.json")
    text = b'{"schema": 1, "files": []}'
    listed.size = len(text)
    with tarfile.open(tmp_path / "bundle.tar", "w") as tar:
        tar.addfile(listed, io.BytesIO(text))
        tar.addfile(tarfile.TarInfo("../evil"))
    before = sorted(tmp_path.rglob("*"))
    assert "leads out of the folder" in kdumpd.wrong("analyze", tmp_path / "bundle.tar", "--debug", vmlinux)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_log_alone_is_analyzed(kdumpd: Command, folder: Path, vmlinux: Path) -> None:
    """Symbols without lines give the calls at least."""
    for path in (*folder.glob("*.dump"), *folder.glob("*.json")):
        path.unlink()
    text = b"\0Linux version 6.12.28-kdtest (x) #1\0"
    code, out, err = kdumpd.end("analyze", folder, "--debug", vmlinux)
    assert (code, out) == (WRONG, "")
    assert "do not name 6.12" in err
    release = err.split("do not name ")[1].strip()
    vmlinux.write_bytes(makeelf.kernel(text=text.replace(b"6.12.28-kdtest", release.encode())))
    code, out, _ = kdumpd.end("analyze", folder, "--debug", vmlinux)
    assert code == 0
    assert "#0   kdtest_write_null [kdtest]" in out
    assert "there is no dump, only a log" in out


def test_a_dump_with_nothing_in_it_gives_what_the_log_has(
    kdumpd: Command, folder: Path, vmlinux: Path
) -> None:
    """The dump's structure is sound and its symbols match, but there is no kernel in it."""
    code, out, err = kdumpd.end("analyze", folder, "--debug", vmlinux)
    assert (code, "Traceback" in err) == (0, False)
    assert "#0   kdtest_write_null [kdtest]" in out
    assert out.split("Not to be had from this dump\n")[1].count("could not find") == 8


def loaded(*arguments: str | Path, also: str = "") -> set[str]:
    """The modules that a command has imported when it ends."""
    code = (
        f"import sys\n{also}\nimport atexit\natexit.register(lambda: print('\\n' + ' '.join(sys.modules)))\n"
    )
    code += "from kdumpd.cli.main import main\nmain(sys.argv[1:])" if arguments else "import kdumpd"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"drgn", "_drgn", "zstandard", "kdumpd.analysis", "kdumpd.cli.commands", "kdumpd.crashes.inventory"}


def test_the_daemon_loads_no_analysis() -> None:
    assert not loaded() & HEAVY
    ran = loaded("run")
    assert "kdumpd.config" in ran
    assert not ran & HEAVY
    supervisor = loaded("run", also="import kdumpd.run.supervisor")
    assert "kdumpd.crashes.record" in supervisor
    assert not supervisor & HEAVY


def test_list_and_show_need_no_extra(folder: Path) -> None:
    for arguments in (("list", folder), ("show", folder), ("prune", folder)):
        ran = loaded(*arguments)
        assert "kdumpd.crashes.artefacts" in ran
        assert not ran & {"drgn", "zstandard", "kdumpd.analysis.findings"}
    assert "kdumpd.analysis" not in loaded("list", folder)


def test_show_reads_any_log_a_person_has(kdumpd: Command, tmp_path: Path) -> None:
    carried = "".join(
        f"Mar  3 11:22:33 edge7 kernel: {line}"
        for line in (crashfiles.LOGS / crashfiles.NULL).read_text().splitlines(keepends=True)
    )
    (tmp_path / "messages").write_text(carried)
    shown = kdumpd("show", tmp_path / "messages")
    assert shown.startswith("messages: null-dereference in ")
    assert "\ninstruction:\n" in shown
    assert "(NULL)" in shown
    as_json = json.loads(kdumpd("show", tmp_path / "messages", "--json"))
    assert as_json["instruction"]["values"][-1] == {"name": "address", "value": 0, "note": "NULL"}


def test_without_zstandard_a_plain_tar_is_written_all_the_same(folder: Path, tmp_path: Path) -> None:
    without = (
        "import sys; sys.modules['zstandard'] = None; from kdumpd.cli.main import main; main(sys.argv[1:])"
    )
    for name, code in (("crash.tar", 0), ("crash.tar.zst", WRONG)):
        done = subprocess.run(
            [sys.executable, "-c", without, "export", "latest", tmp_path / name, "--folder", folder],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert (tmp_path / name).exists() == (code == 0)
    assert "pip install 'kdumpd[analysis]'" in done.stderr


@pytest.fixture
def encrypted(folder: Path) -> Path:
    """The private key of a dump that is in the crash folder, encrypted."""
    key = folder.parent / "key"
    subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True).stdout
    dump = makedump.kdump()
    stream = makestream.stream(makestream.records(dump, pages=len(makedump.PAGES), at_once=2))
    command = ["age", "-e", "-r", public.strip(), "-o", str(folder / "kdump-20270101T000000Z.flat.age")]
    subprocess.run(command, input=stream, check=True)
    return key


def test_decrypt_writes_the_dump_beside_the_stream(kdumpd: Command, folder: Path, encrypted: Path) -> None:
    printed = kdumpd("decrypt", "20270101T000000Z", "--folder", folder, "--identity", encrypted)
    made = folder / "kdump-20270101T000000Z.dump"
    assert printed.startswith(f"{made}: complete, {len(makedump.PAGES)} pages, ")
    assert made.read_bytes() == makedump.kdump()


def test_decrypt_takes_a_path_and_a_target(kdumpd: Command, folder: Path, encrypted: Path) -> None:
    source, target = folder / "kdump-20270101T000000Z.flat.age", folder.parent / "dump"
    told = kdumpd.json("decrypt", source, target, "--identity", encrypted)
    assert told == {"dump": str(target), "complete": True, "size_bytes": target.stat().st_size}


def test_decrypt_with_a_wrong_key_is_one_line(kdumpd: Command, folder: Path, encrypted: Path) -> None:
    subprocess.run(["age-keygen", "-o", str(folder.parent / "other")], check=True, capture_output=True)
    source, before = folder / "kdump-20270101T000000Z.flat.age", sorted(folder.iterdir())
    said = kdumpd.wrong("decrypt", source, "--identity", folder.parent / "other")
    assert said == f"kdumpd: {source}: it cannot be decrypted: no identity matched any of the recipients\n"
    assert sorted(folder.iterdir()) == before
