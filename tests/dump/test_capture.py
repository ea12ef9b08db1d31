"""One dump alone, and one atomic file alone, on a simulated machine; virtual time."""

from pathlib import Path

import pytest
import trio
from tests.simulated import check, open_descriptors
from trio.testing import MockClock

import kdumpd
from kdumpd.testing import SimulatedMachine


@pytest.fixture
def machine(simulated_machine: SimulatedMachine) -> SimulatedMachine:
    simulated_machine.mount()
    return simulated_machine


async def test_a_dump_with_progress(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.seconds = 10
    seen: list[kdumpd.Progress] = []
    verdict = await kdumpd.capture_dump("/persist/my.dump", progress=seen.append, machine=machine)
    assert verdict.state == "complete"
    assert verdict.size_bytes == (machine.files() / "my.dump").stat().st_size
    assert len(seen) == 11
    assert [progress.elapsed_s for progress in seen[:3]] == pytest.approx([1, 2, 3])
    assert seen[-1].percent == 100
    sizes = [progress.size_bytes for progress in seen]
    assert sizes == sorted(sizes)
    assert [file.name for file in machine.files().iterdir()] == ["my.dump"]


async def test_settings_are_honoured(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    settings = kdumpd.DumpSettings(level=1, compression="lzo", max_bytes=200000)
    verdict = await kdumpd.capture_dump(
        "/persist/my.dump", vmcore="/tmp/vmcore", settings=settings, machine=machine
    )
    assert (verdict.state, verdict.level, verdict.compression) == ("incomplete", 1, "lzo")
    assert verdict.why == "size budget of 200000 bytes ran out"
    run = machine.makedumpfile.runs[-1]
    assert run[run.index("-d") + 1] == "1"
    assert "-l" in run
    assert run[-1] == "/tmp/vmcore"


async def test_a_failure_is_a_verdict_and_no_file(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    machine.makedumpfile.fail("dump", "exit", message="no luck")
    verdict = await kdumpd.capture_dump("/persist/my.dump", machine=machine)
    assert (verdict.state, verdict.why) == ("none", "makedumpfile ended with exit code 1: no luck")
    assert list(machine.files().iterdir()) == []


async def test_no_makedumpfile(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.programs.clear()
    with pytest.raises(kdumpd.DumpError, match="makedumpfile not found"):
        await kdumpd.capture_dump("/persist/my.dump", machine=machine)


async def test_no_folder(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    with pytest.raises(kdumpd.StorageError, match="/persist/none does not exist"):
        await kdumpd.capture_dump("/persist/none/my.dump", machine=machine)


async def test_the_callers_timeout_seals_it(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    machine.makedumpfile.seconds = 100
    before = open_descriptors()
    with trio.move_on_after(50) as scope:
        await kdumpd.capture_dump("/persist/my.dump", machine=machine)
    assert scope.cancelled_caught
    checked = check(machine.files() / "my.dump")
    assert checked.header.incomplete
    assert 0 < checked.pages < checked.expected_pages
    assert open_descriptors() <= before
    assert machine.leftovers() == []


async def test_on_a_disk_that_hangs_nothing_stays_open(
    machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    machine.disk.freeze(after_bytes=50000)
    verdict = await kdumpd.capture_dump("/persist/my.dump", machine=machine)
    assert verdict.why == "no progress for 60 s; storage does not answer"
    machine.disk.thaw()
    assert open_descriptors() <= before
    assert list(machine.files().iterdir()) == []


async def test_one_file(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    await kdumpd.commit_file("/persist/state", b"1", mode=0o640, mtime_s=1000000000, machine=machine)
    status = (machine.files() / "state").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1000000000)
    await kdumpd.commit_file("/persist/state", b"2", machine=machine)
    assert (machine.files() / "state").read_bytes() == b"2"
    assert [file.name for file in machine.files().iterdir()] == ["state"]


async def test_one_file_without_room(machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    await kdumpd.commit_file("/persist/state", b"1", machine=machine)
    machine.disk.fill()
    with pytest.raises(kdumpd.StorageError) as caught:
        await kdumpd.commit_file("/persist/state", b"2", machine=machine)
    assert str(caught.value) == "/persist/state cannot be written: No space left on device"
    assert (machine.files() / "state").read_bytes() == b"1"


async def test_one_real_file(tmp_path: Path) -> None:
    await kdumpd.commit_file(tmp_path / "state", b"1")
    assert (tmp_path / "state").read_bytes() == b"1"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(kdumpd.StorageError, match="link is not a folder"):
        await kdumpd.commit_file(tmp_path / "link" / "state", b"2")
