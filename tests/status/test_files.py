"""A machine's small files under any root; what cannot be read is unknown."""

from pathlib import Path

import pytest

from kdumpd.status.files import MachineFiles, Unknown, unknown


@pytest.fixture
def machine(tmp_path: Path) -> MachineFiles:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/number").write_text(" 42\n")
    (tmp_path / "proc/zero").write_text("0\n")
    (tmp_path / "proc/text").write_bytes(b" a \xff b\n")
    return MachineFiles(tmp_path)


def test_paths_are_under_the_root(machine: MachineFiles) -> None:
    assert machine.path("/proc/text") == machine.root / "proc/text"
    assert machine.path("//proc/text") == machine.root / "proc/text"


def test_contents(machine: MachineFiles) -> None:
    assert machine.data("/proc/number") == b" 42\n"
    assert machine.data("/proc/number", limit_bytes=2) == b" 4"
    assert machine.text("/proc/text") == "a \ufffd b"
    assert machine.number("/proc/number") == 42
    assert machine.flag("/proc/number") is True
    assert machine.flag("/proc/zero") is False
    names = machine.names("/proc")
    assert not isinstance(names, Unknown)
    assert sorted(names) == ["number", "text", "zero"]


def test_text_is_no_number(machine: MachineFiles) -> None:
    assert machine.number("/proc/text") == Unknown(source="/proc/text", why="not a number")
    assert machine.flag("/proc/text") == Unknown(source="/proc/text", why="not a number")


def test_what_is_missing_is_absent(machine: MachineFiles) -> None:
    for read in (machine.data, machine.text, machine.number, machine.flag, machine.names, machine.space):
        found = read("/proc/missing")
        assert isinstance(found, Unknown)
        assert found.absent
        assert str(found) == "/proc/missing: not there"
    assert machine.text_or_none("/proc/missing") is None


def test_what_is_there_and_cannot_be_read_is_not_absent(machine: MachineFiles) -> None:
    found = machine.data("/proc")
    assert found == Unknown(source="/proc", why="Is a directory")
    assert not found.absent


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(13, "Permission denied"), "unknown, needs root"),
        (PermissionError(1, "Operation not permitted"), "unknown, needs root"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("no number"), "no number"),
    ],
)
def test_errors_say_why(error: OSError, why: str) -> None:
    assert unknown("/sys/x", error) == Unknown(source="/sys/x", why=why)


def test_space_is_that_of_the_file_system(machine: MachineFiles) -> None:
    space = machine.space("/")
    assert not isinstance(space, Unknown)
    assert 0 <= space.free_bytes < space.total_bytes
