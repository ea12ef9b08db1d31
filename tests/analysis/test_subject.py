"""What is wrong with a dump or its symbols is said before anything slow, in one line."""

import io
from pathlib import Path

import attrs
import pytest
from tests import crashfiles, makedump
from tests.analysis import makeelf

from kdumpd.analysis.progress import Progress
from kdumpd.analysis.subject import Subject, prepare
from kdumpd.crashes.inventory import read_folder
from kdumpd.errors import ConfigError, FormatError, KdumpError


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinux"
    path.write_bytes(makeelf.kernel())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "kcrashes"
    path.mkdir()
    return path


def prepared(folder: Path, debug: Path) -> Subject:
    return prepare(read_folder(folder)[0], debug, Progress(io.StringIO()))


def test_a_dump_and_its_symbols(folder: Path, vmlinux: Path) -> None:
    stamp = crashfiles.leave(folder)
    subject = prepared(folder, vmlinux)
    assert subject.symbols.vmlinux == vmlinux
    assert subject.require_dump().path == folder / f"kdump-{stamp}.dump"
    assert not subject.require_dump().incomplete


def test_a_sealed_dump_is_taken(folder: Path, vmlinux: Path) -> None:
    crashfiles.leave(folder, dump=crashfiles.sealed(crashfiles.DUMP[:-1]))
    assert prepared(folder, vmlinux).require_dump().incomplete


@pytest.mark.parametrize(
    ("dump", "why"),
    [
        (crashfiles.DUMP[:-1], "the dump is truncated: 4 of 5 pages are in it; was it copied whole"),
        (crashfiles.DUMP[:9000], "the file ends before|cut before its page descriptors"),
        (b"garbage" * 100, "not a kdump file"),
        (makedump.kdump(vmcoreinfo=b""), "VMCOREINFO holds no KEY=VALUE line"),
    ],
)
def test_a_dump_that_is_not_whole_is_refused(folder: Path, vmlinux: Path, dump: bytes, why: str) -> None:
    stamp = crashfiles.leave(folder)
    path = folder / f"kdump-{stamp}.dump"
    path.write_bytes(dump)
    with pytest.raises(FormatError, match=why) as caught:
        prepared(folder, vmlinux)
    assert str(caught.value).startswith(f"{path}: ")


def test_another_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    crashfiles.leave(folder)
    (tmp_path / "vmlinux").write_bytes(makeelf.kernel(machine=makeelf.AARCH64))
    with pytest.raises(ConfigError, match="these symbols are of aarch64, the dump is of x86_64"):
        prepared(folder, tmp_path / "vmlinux")


def test_without_a_dump_the_log_is_the_subject(folder: Path, vmlinux: Path) -> None:
    crashfiles.leave(folder, dump=b"")
    subject = prepared(folder, vmlinux)
    assert subject.dump is None
    with pytest.raises(ConfigError, match="has no dump to open"):
        subject.require_dump()


def test_without_dump_and_trace_there_is_nothing(folder: Path, vmlinux: Path) -> None:
    crashfiles.leave(folder, dump=b"", log="oom-deadlocked-5.15.log")
    crashfiles.rewrite(folder, frames=())
    with pytest.raises(KdumpError, match="no dump and no call trace in a log: there is nothing to analyze"):
        prepared(folder, vmlinux)


def test_progress_is_lines_in_a_file_and_one_line_on_a_terminal() -> None:
    plain = io.StringIO()
    with Progress(plain) as progress:
        progress.step("unpacking")
        progress.amount(5 << 20)
    assert plain.getvalue() == "unpacking\n"
    terminal = Terminal()
    with Progress(terminal) as progress:
        progress.step("unpacking")
        progress.amount(5 << 20)
    assert terminal.getvalue().split("\r\x1b[K") == ["", "unpacking ...", "unpacking: 5 MiB", ""]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_crash_of_a_bundle_is_a_subject_too(folder: Path, vmlinux: Path, tmp_path: Path) -> None:
    from kdumpd.crashes import bundle  # noqa: PLC0415 only here

    crashfiles.leave(folder)
    crash = read_folder(folder)[0]
    bundle.export(crash, tmp_path / "crash.tar")
    with bundle.opened(tmp_path / "crash.tar") as inside:
        assert prepared(inside, vmlinux).crash.record == attrs.evolve(crash.record)
