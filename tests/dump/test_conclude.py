"""The end of a dump's file: decided once, whoever comes first."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.config import DumpSettings
from kdumpd.dump.conclude import Conclusion
from kdumpd.dump.verdict import Verdict
from kdumpd.host.folder import Folder, NewFile
from kdumpd.testing import make_kdump

HANGS = Verdict(state="none", why="storage does not answer")


class Slow(Folder):
    """A folder in which a rename waits until it may go on."""

    may_rename = threading.Event()
    renames = threading.Event()

    def publish(self, file: NewFile) -> None:
        self.renames.set()
        self.may_rename.wait(10)
        super().publish(file)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Slow]:
    Slow.may_rename.clear()
    Slow.renames.clear()
    opened = Slow.open(str(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def conclusion(folder: Slow) -> Iterator[Conclusion]:
    file = folder.create("a.dump", mode=0o600)
    os.write(file.fd, make_kdump(level=0))
    yield Conclusion(folder, file, DumpSettings(level=0))
    os.close(file.fd)


def test_a_whole_file_gets_its_name(conclusion: Conclusion, tmp_path: Path) -> None:
    Slow.may_rename.set()
    verdict = conclusion.prepare(None, None)
    before = conclusion.verdict
    conclusion.publish(verdict)
    assert (before, conclusion.verdict) == (None, verdict)
    assert verdict.state == "complete"
    assert os.listdir(tmp_path) == ["a.dump"]


def test_a_name_that_comes_too_late_is_taken_away_again(conclusion: Conclusion, tmp_path: Path) -> None:
    thread = threading.Thread(target=conclusion.publish, args=[conclusion.prepare(None, None)])
    thread.start()
    assert Slow.renames.wait(5)
    assert conclusion.give_up(HANGS) is HANGS
    Slow.may_rename.set()
    thread.join(5)
    assert os.listdir(tmp_path) == []
    assert conclusion.verdict is HANGS


def test_who_gives_up_too_late_is_told_what_stands(conclusion: Conclusion, tmp_path: Path) -> None:
    Slow.may_rename.set()
    verdict = conclusion.prepare("it was cut", None)
    conclusion.publish(verdict)
    assert conclusion.give_up(HANGS) is verdict
    assert os.listdir(tmp_path) == ["a.dump"]


def test_what_is_given_up_is_not_published(conclusion: Conclusion, tmp_path: Path) -> None:
    conclusion.give_up(HANGS)
    conclusion.publish(conclusion.prepare(None, None))
    assert not Slow.renames.is_set()
    assert os.listdir(tmp_path) == []
