"""The storage gate before real mounts: it opens for the right one only, and at once."""

import math
import os
from pathlib import Path
from typing import NoReturn

import pytest
import trio

from kdumpd.config import StorageSettings
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine, Tick
from kdumpd.storage.gate import Gate

from .volume import Volume, command

pytestmark = pytest.mark.system

# No re-scan helps while this runs: what opens the gate is an event.
NEVER = math.inf


class Deaf(LinuxMachine):
    """A machine whose events are all lost."""

    async def watch_mounts(
        self, tick: Tick, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        task_status.started()
        await trio.sleep_forever()
        raise AssertionError

    async def watch_devices(
        self, tick: Tick, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        task_status.started("lost")
        await trio.sleep_forever()
        raise AssertionError


class Waiting:
    """A gate that is waited for in the background."""

    def __init__(self, mountpoint: Path, *, machine: Machine, rescan_s: float = NEVER) -> None:
        self.told: list[str] = []
        self.opened_at = math.nan
        self.gate = Gate(
            StorageSettings(mountpoint=str(mountpoint), partlabel="", filesystems=("ext4",)),
            machine=machine,
            tell=self.told.append,
            rescan_s=rescan_s,
        )

    async def wait(self) -> None:
        storage = await self.gate.wait()
        self.opened_at = trio.current_time()
        storage.folder.close()

    async def tells(self, text: str) -> None:
        """Wait until it has told this."""
        with trio.fail_after(5):
            while not any(text in line for line in self.told):
                await trio.sleep(0.001)


async def test_it_opens_at_the_right_mount_only(volume: Volume) -> None:
    waiting = Waiting(volume.mountpoint, machine=LinuxMachine())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait)
        await waiting.tells("is not mounted")
        command("mount", "-t", "tmpfs", "tmpfs", volume.mountpoint)
        await waiting.tells("is tmpfs, not one of ext4")
        volume.unmount()
        volume.mount("ro")
        await waiting.tells("is mounted read-only")
        assert math.isnan(waiting.opened_at)
        volume.mount("remount,rw")
        with trio.fail_after(5):
            while math.isnan(waiting.opened_at):
                await trio.sleep(0.001)
    assert os.listdir(volume.mountpoint) == ["lost+found"]


async def test_each_change_is_told_once(volume: Volume, tmp_path: Path) -> None:
    waiting = Waiting(volume.mountpoint, machine=LinuxMachine(), rescan_s=0.02)
    (tmp_path / "other").mkdir()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait)
        await waiting.tells("is not mounted")
        for _ in range(5):
            command("mount", "-t", "tmpfs", "tmpfs", tmp_path / "other")
            command("umount", tmp_path / "other")
        await trio.sleep(0.2)
        volume.mount()
    assert waiting.told[1:] == [f"{volume.mountpoint} is not mounted"]


async def test_the_mount_event_opens_it_within_100_ms(volume: Volume) -> None:
    latencies = []
    for _ in range(10):
        waiting = Waiting(volume.mountpoint, machine=LinuxMachine())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting.wait)
            await waiting.tells("is not mounted")
            volume.mount()
            mounted_at = trio.current_time()
        latencies.append(waiting.opened_at - mounted_at)
        volume.unmount()
    print(f"mount to open gate, probe write and fsync included: {sorted(latencies)[5] * 1000:.1f} ms")
    assert sorted(latencies)[5] < 0.1


async def test_with_all_events_lost_the_slow_re_scan_opens_it(volume: Volume) -> None:
    waiting = Waiting(volume.mountpoint, machine=Deaf(), rescan_s=0.3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait)
        await waiting.tells("is not mounted")
        volume.mount()
    assert not math.isnan(waiting.opened_at)


async def test_a_full_volume_is_ready_since_waiting_makes_no_room(volume: Volume) -> None:
    volume.mount()
    command("sh", "-c", f"head -c 2G /dev/zero > {volume.mountpoint}/big", check=False)
    waiting = Waiting(volume.mountpoint, machine=LinuxMachine())
    with trio.fail_after(5):
        await waiting.wait()


async def test_a_frozen_volume_keeps_it_shut_and_does_not_hang_it(volume: Volume) -> None:
    volume.mount()
    volume.freeze()
    waiting = Waiting(volume.mountpoint, machine=LinuxMachine(), rescan_s=0.1)
    with trio.move_on_after(0.5) as scope:
        await waiting.wait()
    assert scope.cancelled_caught
    volume.thaw()
    with trio.fail_after(5):
        await waiting.wait()
