"""The hardware watchdog: petted while a step is within its allowance, no longer. Virtual time."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from kdumpd.host.watchdog import pet


@pytest.fixture
def device(tmp_path: Path) -> Path:
    file = tmp_path / "watchdog"
    file.write_bytes(b"")
    return file


async def test_it_is_petted_only_while_that_is_allowed(device: Path, autojump_clock: MockClock) -> None:
    until = 9.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pet, str(device), lambda: trio.current_time() < until, print)
        await trio.sleep(60)
        petted = device.stat().st_size
        assert 4 <= petted <= 5
        until = 63.0
        await trio.sleep(60)
        assert petted < device.stat().st_size <= petted + 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("restarts", "disarmed"), [(True, False), (False, True)])
async def test_it_is_disarmed_where_the_machine_goes_on(
    device: Path, autojump_clock: MockClock, restarts: bool, disarmed: bool
) -> None:
    with trio.move_on_after(30):
        await pet(str(device), lambda: True, print, keep_running=lambda: restarts)
    assert device.read_bytes().endswith(b"V") == disarmed


async def test_a_machine_without_one_is_fine(tmp_path: Path, autojump_clock: MockClock) -> None:
    said: list[str] = []
    for path in ("", str(tmp_path / "none")):
        with trio.move_on_after(10):
            await pet(path, lambda: True, said.append)
    assert said == []


async def test_one_that_cannot_be_opened_is_said(tmp_path: Path, autojump_clock: MockClock) -> None:
    said: list[str] = []
    with trio.move_on_after(10):
        await pet(str(tmp_path), lambda: True, said.append)
    assert said == [f"watchdog {tmp_path} cannot be opened (Is a directory): going on without it"]
