"""The watchdog lease: petted while work advances, and not a moment longer. Virtual time."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from kdumpd.host.watchdog import Lease, pet


@pytest.fixture
def device(tmp_path: Path) -> Path:
    file = tmp_path / "watchdog"
    file.write_bytes(b"")
    return file


async def test_it_is_petted_only_while_the_lease_lasts(device: Path, autojump_clock: MockClock) -> None:
    lease = Lease()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pet, str(device), lease, print)
        await trio.sleep(10)
        assert device.read_bytes() == b""
        lease.renew(9)
        await trio.sleep(60)
        petted = device.stat().st_size
        assert 4 <= petted <= 5
        lease.renew(1)
        lease.renew(3)
        await trio.sleep(60)
        assert petted < device.stat().st_size <= petted + 2
        nursery.cancel_scope.cancel()


async def test_it_is_never_disarmed(device: Path, autojump_clock: MockClock) -> None:
    lease = Lease()
    lease.renew(60)
    with trio.move_on_after(30):
        await pet(str(device), lease, print)
    assert b"V" not in device.read_bytes()


async def test_a_machine_without_one_is_fine(tmp_path: Path, autojump_clock: MockClock) -> None:
    said: list[str] = []
    for path in ("", str(tmp_path / "none")):
        with trio.move_on_after(10):
            await pet(path, Lease(), said.append)
    assert said == []


async def test_one_that_cannot_be_opened_is_said(tmp_path: Path, autojump_clock: MockClock) -> None:
    said: list[str] = []
    with trio.move_on_after(10):
        await pet(str(tmp_path), Lease(), said.append)
    assert said == [f"watchdog {tmp_path} cannot be opened (Is a directory): going on without it"]
