"""How a drill ended, by what it left behind."""

from pathlib import Path

import attrs
import pytest
from tests.machines import CRASH

from kdumpd.config import Config, DumpSettings
from kdumpd.status.boots import write_note
from kdumpd.status.drill import NAME, Drill, DrillResult, judge, read_drill
from kdumpd.status.files import MachineFiles
from kdumpd.status.lastcrash import LastCrash

OLD = attrs.evolve(CRASH, stamp="20250101T000000Z")
DRILL = Drill(boot="one", stamps=(OLD.stamp,))
LOG_ALONE = attrs.evolve(CRASH, dump_state="none", reason="kernel panic, dmesg collected: x (no kdump: y)")
CUT = attrs.evolve(CRASH, dump_state="incomplete", reason="kernel panic, kdump collected: x (incomplete: y)")


def result(
    *crashes: LastCrash, drill: Drill = DRILL, boot: str = "two", dump: DumpSettings | None = None
) -> DrillResult:
    return judge(drill, boot=boot, crashes=crashes, config=Config(dump=dump or DumpSettings()))


def test_a_complete_dump_that_was_not_there_before_is_passed() -> None:
    passed = DrillResult(passed=True, step=None, text=f"{CRASH.stamp}: a complete dump")
    assert result(CRASH, OLD) == passed
    # A clock that was wrong in the crash makes it the older one.
    assert result(OLD, CRASH) == passed


def test_the_log_alone_is_passed_where_no_dump_is_wanted() -> None:
    assert result(LOG_ALONE, dump=DumpSettings(enabled=False)).passed


@pytest.mark.parametrize(
    ("crashes", "boot", "step", "text"),
    [
        ((), "one", "crash", "the machine has not crashed since"),
        ((OLD,), "two", "capture", "nothing was collected: no capture kernel came, or none reached persist"),
        ((LOG_ALONE, OLD), "two", "dump", f"{CRASH.stamp}: {LOG_ALONE.reason}"),
        ((CUT, OLD), "two", "dump", f"{CRASH.stamp}: {CUT.reason}"),
        (
            (LastCrash(stamp=CRASH.stamp, files=("x",)), OLD),
            "two",
            "dump",
            f"{CRASH.stamp}: there is no record of a dump",
        ),
    ],
)
def test_the_step_that_failed(crashes: tuple[LastCrash, ...], boot: str, step: str, text: str) -> None:
    assert result(*crashes, boot=boot) == DrillResult(passed=False, step=step, text=text)


def test_a_machine_that_was_not_armed_failed_at_that_step() -> None:
    refused = attrs.evolve(DRILL, refused=("reservation-failed", "the kernel reserved no memory"))
    assert result(CRASH, drill=refused) == DrillResult(
        passed=False, step="reservation-failed", text="the kernel reserved no memory"
    )


@pytest.mark.parametrize("drill", [DRILL, attrs.evolve(DRILL, stamps=(), refused=("a", "b"))])
def test_a_note_is_read_as_it_was_written(tmp_path: Path, drill: Drill) -> None:
    (tmp_path / "persist").mkdir()
    machine = MachineFiles(tmp_path)
    assert read_drill(machine, "/persist/kcrashes") is None
    assert write_note(Config(), machine, NAME, drill.note()) is None
    assert read_drill(machine, "/persist/kcrashes") == drill


@pytest.mark.parametrize("text", ["", "[]", "{", '{"boot": 1, "stamps": []}', '{"boot": "x", "stamps": "y"}'])
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_drill(MachineFiles(tmp_path), "/") is None
