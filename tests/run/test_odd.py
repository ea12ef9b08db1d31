"""Odd, full and broken machines: whatever is wrong costs itself alone, and never the evidence before it."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.simulated import (
    COMPLETE,
    LOG,
    LOG_ONLY,
    RECORD,
    collect,
    configured,
    crash_files,
    reason,
)
from trio.testing import MockClock

import kdumpd
from kdumpd.errors import StorageError
from kdumpd.run.supervisor import supervise
from kdumpd.testing import SimulatedFolder, SimulatedMachine, make_vmcoreinfo

OLD = [f"2025010{day}T000000Z" for day in range(1, 7)]


def leave(machine: SimulatedMachine, *names: str, size_bytes: int = 3) -> Path:
    folder = machine.files() / "kcrashes"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(bytes(size_bytes))
    return folder


class Immovable(SimulatedMachine):
    """A machine on which what is old cannot be removed, as with `chattr +i`."""

    def _open(self, path: str, place: Path) -> SimulatedFolder:
        opened = super()._open(path, place)

        class Stuck(SimulatedFolder):
            def remove(self, name: str) -> None:
                if "2025" in name:
                    raise PermissionError(1, "Operation not permitted")
                super().remove(name)

        return Stuck(path=opened.path, fd=opened.fd, disk=opened.disk, note=opened.note)


async def test_an_artefact_that_cannot_be_removed_is_a_warning(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine = Immovable(tmp_path)
    machine.mount()
    leave(machine, *(f"kdump-{stamp}.dump" for stamp in OLD), ".kdumpd-kdump-20250101T000000Z.dump.1.tmp")
    outcome = await collect(machine)
    assert outcome.complete
    assert reason(machine) == f"{COMPLETE}\n"
    stuck = [text for text in outcome.record.warnings if text.startswith("it cannot be removed")]
    assert len(stuck) == 3
    assert f"it cannot be removed: kdump-{OLD[0]}.dump (Operation not permitted)" in stuck


async def test_on_a_full_volume_the_oldest_go_one_at_a_time(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine = simulated_machine
    machine.mount()
    machine.log = b"[    7.000000] Kernel panic - not syncing: test\n" * 4000
    leave(machine, *(f"kdump-{stamp}.dump" for stamp in OLD[:3]), size_bytes=150_000)
    machine.disk.fill(leave_bytes=64 << 10)
    outcome = await collect(machine, dump={"enabled": False})
    assert reason(machine) == f"{LOG_ONLY}\n"
    assert f"kdump-{OLD[0]}.dump" not in crash_files(machine)
    assert f"kdump-{OLD[2]}.dump" in crash_files(machine)
    assert f"there was no room: kdump-{OLD[0]}.dump was removed" in outcome.record.warnings
    assert (machine.files() / "kcrashes" / LOG).read_bytes() == machine.log


async def test_without_room_for_the_log_there_is_still_the_line(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine = simulated_machine
    machine.mount()
    (machine.files() / "reboot-reason").write_text("an older panic\n")
    machine.log = b"[    7.000000] Kernel panic - not syncing: test\n" * 20000
    machine.disk.fill(leave_bytes=200 << 10)
    outcome = await collect(machine)
    told = reason(machine)
    assert told is not None
    assert told.startswith("kernel panic, ")
    assert "No space left on device" in " ".join(outcome.record.warnings)
    stack = (machine.files() / "reboot-stack").read_bytes()
    assert 0 < len(stack) <= 128 << 10
    assert machine.log.endswith(stack)


@pytest.mark.parametrize("crash_time_s", [0, 946684800, 4102444800])
async def test_a_clock_that_is_wrong_stops_no_dump_and_evicts_no_newer_one(
    simulated_machine: SimulatedMachine, crash_time_s: int, autojump_clock: MockClock
) -> None:
    """A CMOS clock that starts at the same date at each boot, or that is 70 years in the future."""
    machine = simulated_machine
    machine.mount()
    machine.log = b"[99999.000000] Kernel panic - not syncing: after a day\n"
    for number in range(8):
        wrong = crash_time_s if number < 6 else 1795398039
        machine.vmcoreinfo_note = make_vmcoreinfo(crash_time_s=wrong)
        outcome = await collect(machine)
        assert outcome.complete, outcome.reason
        assert outcome.record.sequence == number + 1
        if not machine.mounts()[1:]:
            machine.mount()
    left = [json.loads(file.read_text()) for file in (machine.files() / "kcrashes").glob("*.json")]
    assert sorted(record["sequence"] for record in left) == [4, 5, 6, 7, 8]


async def test_a_crash_loop_is_counted_by_uptimes(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine = simulated_machine
    reasons = []
    for uptime_s in (100, 100, 100, 100, 3700, 100):
        machine.mount()
        machine.log = b"[%5d.000000] Kernel panic - not syncing: again\n" % uptime_s
        reasons.append((await collect(machine)).reason)
    looped = ["crash loop: 3 dumps within 3600 s" in text for text in reasons]
    assert looped == [False, False, False, True, False, False]


class Raising(SimulatedMachine):
    """A machine whose consoles raise what nobody foresaw."""

    async def write_line(self, target: str, line: str) -> None:
        raise RuntimeError(f"no console code for {target}")


async def test_a_service_that_fails_ends_no_run(tmp_path: Path, autojump_clock: MockClock) -> None:
    machine = Raising(tmp_path)
    machine.mount()
    machine.makedumpfile.seconds = 20
    outcome = await collect(machine)
    assert reason(machine) == f"{COMPLETE}\n"
    assert "run: RuntimeError: no console code for /dev/console" in outcome.record.warnings


async def test_a_service_that_failed_is_no_reason_for_a_dump_that_was_cut(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine = Raising(tmp_path)
    machine.mount()
    machine.makedumpfile.seconds = 1000
    await collect(machine, budget={"total_s": 100})
    assert reason(machine) == f"{COMPLETE} (incomplete: total budget of 100 s ran out)\n"


class Breaking(SimulatedMachine):
    """A machine on which a budget and an error come at once."""

    async def compute(self, call: Any, *args: object, **kwargs: object) -> Any:
        try:
            await trio.sleep(10**6)
        finally:
            raise LookupError("unforeseen")


async def test_an_error_together_with_a_cancel_costs_no_final_phase(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine = Breaking(tmp_path)
    machine.mount()
    with trio.move_on_after(20):
        await supervise(configured(), machine=machine)
    assert machine.journal[-1] == "restart by sysrq"
    assert (reason(machine) or "").startswith("kernel panic, ")


async def test_after_a_signal_the_restart_comes_when_it_was_said(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine = simulated_machine
    machine.mount()
    machine.panic_timeout = 120
    machine.makedumpfile.seconds = 1000
    with trio.move_on_after(50):
        await collect(machine)
    said = next(line for line in machine.console.written if "restart in 120 s" in line.text)
    assert machine.journal[-1] == "restart by sysrq"
    assert trio.current_time() == pytest.approx(said.at_s + 120, abs=1)


async def test_the_last_lines_get_out_before_a_restart_at_once(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine = simulated_machine
    machine.mount()
    lines: list[str] = []

    restart = machine.restart

    def note(method: str) -> str | None:
        lines.extend(machine.console.lines())
        return restart(method)

    machine.restart = note  # type: ignore[method-assign]
    await collect(machine)
    assert lines[-1] == "kdumpd: restart at once by sysrq"


async def test_a_budget_that_a_dump_spent_is_in_the_record(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    simulated_machine.makedumpfile.seconds = 100
    outcome = await collect(simulated_machine, dump={"time_s": 10})
    assert outcome.record.budgets_spent == ("dump.time_s",)
    record = json.loads((simulated_machine.files() / "kcrashes" / RECORD).read_text())
    assert record["budgets_spent"] == ["dump.time_s"]


async def test_a_console_that_was_lost_is_in_the_record(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    simulated_machine.console.block("/dev/ttyS0")
    simulated_machine.makedumpfile.seconds = 20
    targets = {"targets": ["/dev/console", "/dev/ttyS0"]}
    outcome = await collect(simulated_machine, console=targets)
    assert "console /dev/ttyS0: blocked for 5 s" in outcome.record.warnings


async def test_a_dump_of_that_name_is_not_overwritten(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    folder = simulated_machine.mount()
    (folder / "my.dump").write_bytes(b"precious")
    with pytest.raises(StorageError, match=r"/persist/my\.dump is there already"):
        await kdumpd.capture_dump("/persist/my.dump", machine=simulated_machine)
    assert (folder / "my.dump").read_bytes() == b"precious"


async def test_storage_that_cannot_be_watched_is_a_storage_error(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Blind(SimulatedMachine):
        async def watch_mounts(self, *_args: object, **_kwargs: object) -> Any:
            raise StorageError("/proc/self/mountinfo cannot be watched: No such file or directory")

    with pytest.raises(StorageError, match="cannot be watched"):
        await kdumpd.wait_for_storage(machine=Blind(tmp_path))


async def test_two_writes_of_one_file_never_mix(tmp_path: Path) -> None:
    """A write that was cancelled goes on in its thread; the one after it shares nothing with it."""
    target = tmp_path / "state"
    for number in range(20):
        with trio.move_on_after(0.0001):
            await kdumpd.commit_file(target, b"old" * 10_000)
        await kdumpd.commit_file(target, b"%d" % number * 20_000)
        assert set(target.read_bytes()) <= {*b"old", *b"%d" % number}
        assert len(set(target.read_bytes()) & {*b"old"}) in (0, 3)


async def test_a_signal_before_storage_is_there_is_told(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(2):
        await collect(simulated_machine)
    said = simulated_machine.console.lines()
    assert "kdumpd: kernel panic, nothing collected: interrupted" in said
