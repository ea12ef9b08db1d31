"""crash(8), played by a script: what it is told, what it answers, how it fails."""

from pathlib import Path

import pytest

from kdumpd.analysis import crash8
from kdumpd.analysis.subject import Dump
from kdumpd.analysis.symbols import Symbols
from kdumpd.errors import DumpError

# Answers each command with its own text, and runs what follows a "!", as crash does.
PLAY = """#!/bin/sh
echo "$@" > "{told}"
echo "WARNING: active task not found"
while read -r line; do
    case "$line" in
        !*) eval "${{line#!}}" ;;
        quit) exit 0 ;;
        log) seq 100 ;;
        *) echo "answer to $line" ;;
    esac
done
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crash(8) that notes its arguments."""
    play(tmp_path, monkeypatch, PLAY.format(told=tmp_path / "told"))
    return tmp_path / "told"


def play(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (folder / "bin").mkdir()
    (folder / "bin/crash").write_text(script)
    (folder / "bin/crash").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


def ask(folder: Path, *, incomplete: bool = False) -> tuple[crash8.Answer, ...]:
    (folder / "virtio.ko").touch()
    symbols = Symbols(vmlinux=folder / "vmlinux", root=folder, machine="x86_64")
    return crash8.ask(Dump(path=folder / "dump", incomplete=incomplete), symbols, ["virtio", "ext4"])


def test_every_question_is_answered(told: Path, tmp_path: Path) -> None:
    answers = {answer.title: answer.lines for answer in ask(tmp_path)}
    assert list(answers) == ["Warnings", *(title for title, _ in crash8.QUESTIONS)]
    assert answers["Crashed task"] == ("answer to bt -s -l",)
    assert answers["Warnings"] == (
        "WARNING: active task not found",
        f"answer to mod -s virtio {tmp_path}/virtio.ko",
    )
    assert answers["Last lines of the log"] == tuple(str(n) for n in range(71, 101))
    assert told.read_text().split() == [
        "-s",
        "--no_crashrc",
        "--no_scroll",
        f"{tmp_path}/vmlinux",
        f"{tmp_path}/dump",
    ]


def test_an_incomplete_dump_is_opened_with_zeros(told: Path, tmp_path: Path) -> None:
    ask(tmp_path, incomplete=True)
    assert "--zero_excluded" in told.read_text().split()


def test_the_answers_as_text(told: Path, tmp_path: Path) -> None:
    shown = crash8.render(ask(tmp_path))
    assert "Blocked tasks (crash: foreach UN bt)\n  answer to foreach UN bt\n\nTasks (crash: ps)" in shown
    assert told.exists()


LAMENT = """#!/bin/sh
echo
echo "crash: sadump: cannot read dump device"
echo "crash: vmlinux and dump do not match!"
echo "Usage: crash"
exit 1
"""


def test_what_crash_says_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(tmp_path, monkeypatch, LAMENT)
    with pytest.raises(DumpError, match=r"^crash cannot open the dump: vmlinux and dump do not match!$"):
        ask(tmp_path)


def test_crash_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(tmp_path, monkeypatch, "#!/bin/sh\nexit 3\n")
    with pytest.raises(DumpError, match="crash cannot open the dump: exit status 3"):
        ask(tmp_path)


def test_crash_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DumpError, match="crash is not installed"):
        ask(tmp_path)
