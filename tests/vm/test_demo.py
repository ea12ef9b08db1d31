"""What the demo is asked, what it keeps, and whether the machine that it is to crash fits on this one."""

from pathlib import Path

import pytest

from .hostmemory import GIB, HostMemory, MemoryRefusedError
from .kept import keep
from .options import parser


def machine(folder: Path, overcommit: int) -> HostMemory:
    """A machine of 24 GiB, of which 2 are promised."""
    (folder / "sys/vm").mkdir(parents=True)
    (folder / "sys/vm/overcommit_memory").write_text(f"{overcommit}\n")
    kib = {"MemTotal": 24 << 20, "CommitLimit": 12 << 20, "Committed_AS": 2 << 20}
    lines = [f"{name}: {size} kB\n" for name, size in kib.items()]
    (folder / "meminfo").write_text("".join([*lines, "HugePages_Total: 0\n"]))
    return HostMemory.of(folder)


def test_a_guest_that_fits_is_not_spoken_of(tmp_path: Path) -> None:
    assert machine(tmp_path, 2).word_on(2 * GIB) == ""


@pytest.mark.parametrize("overcommit", [0, 1])
def test_a_guest_that_is_larger_is_said_to_be(tmp_path: Path, overcommit: int) -> None:
    word = machine(tmp_path, overcommit).word_on(64 * GIB)
    assert word.startswith("64 GiB of RAM on a machine with 24 GiB")
    assert f"vm.overcommit_memory is {overcommit}" in word


def test_a_guest_that_the_kernel_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MemoryRefusedError, match=r"^64 GiB .*vm.overcommit_memory is 2.*sysctl"):
        machine(tmp_path, 2).word_on(64 * GIB)


def persist(folder: Path, stamp: str) -> Path:
    crashes = folder / stamp / "kcrashes"
    crashes.mkdir(parents=True)
    (crashes / f"crash-{stamp}.json").write_text("{}")
    return folder / stamp


def test_the_last_three_crash_folders_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = [keep(persist(tmp_path, f"20261125T04300{second}Z"), None) for second in range(5)]
    assert [folder.exists() for folder in kept] == [False, False, True, True, True]
    assert (kept[-1] / "crash-20261125T043004Z.json").read_text() == "{}"


def test_a_folder_of_the_users_own_is_left_to_him(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    assert keep(persist(tmp_path, "20261125T043000Z"), target) == target
    assert [file.name for file in target.iterdir()] == ["crash-20261125T043000Z.json"]


def test_a_run_that_collected_nothing_has_failed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="collected nothing"):
        keep(tmp_path, None)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--memory", "2G"], "'2G' is not a number of MiB"),
        (["--memory", "0"], "'0' is not a number of MiB"),
        (["--keep", str(Path(__file__).parent)], "is there and is not an empty folder"),
        (["--config", "/nowhere/kdumpd.toml"], "no such file"),
        (["--trigger", "bad-luck"], "invalid choice"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert fault in capsys.readouterr().err.splitlines()[-1]
