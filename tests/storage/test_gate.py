"""The storage gate: what counts as ready, what is said while it is not, and when it opens. Virtual time."""

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest
import trio
from attrs import evolve
from tests.simulated import open_descriptors
from trio.testing import MockClock

from kdumpd.config import StorageSettings as Settings
from kdumpd.host.mounts import Mount, MountTableError, parse_mountinfo
from kdumpd.host.uevents import Partition
from kdumpd.storage.gate import NotReady, judge, wait_for_storage
from kdumpd.testing import SimulatedMachine

GIB = 1 << 30
ROOT = b"1 0 0:2 / / rw - squashfs /dev/vda ro\n"
PERSIST = b"2 1 253:1 / /persist rw,noatime - ext4 /dev/vdb1 rw\n"
P3 = Partition(device="/dev/vdb1", label="P3")
THERE = "/dev/vdb1 is there, /persist is not mounted"


# The predicate


@pytest.mark.parametrize(
    ("table", "partition", "settings", "why"),
    [
        (ROOT, None, Settings(), "no device labelled P3 yet, /persist is not mounted"),
        (ROOT, P3, Settings(), "/dev/vdb1 is there, /persist is not mounted"),
        (ROOT, None, Settings(partlabel=""), "/persist is not mounted"),
        (
            PERSIST.replace(b"/persist", b"/persist/x"),
            None,
            Settings(partlabel=""),
            "/persist is not mounted",
        ),
        (PERSIST.replace(b"ext4", b"tmpfs"), P3, Settings(), "/persist is tmpfs, not one of ext3, ext4, zfs"),
        (PERSIST.replace(b"rw,", b"ro,"), P3, Settings(), "/persist is mounted read-only"),
        (PERSIST.replace(b"1 rw\n", b"1 ro\n"), P3, Settings(), "/persist is mounted read-only"),
        (
            PERSIST + PERSIST.replace(b"2 1", b"3 2").replace(b"ext4", b"overlay"),
            P3,
            Settings(),
            "/persist is overlay, not one of ext3, ext4, zfs",
        ),
    ],
)
def test_not_ready(table: bytes, partition: Partition | None, settings: Settings, why: str) -> None:
    whole = table if table is ROOT else ROOT + table
    assert judge(parse_mountinfo(whole), partition, settings) == NotReady(why=why)


@pytest.mark.parametrize(
    ("table", "settings"),
    [
        (PERSIST, Settings()),
        (PERSIST.replace(b"ext4", b"zfs").replace(b"/dev/vdb1", b"persist"), Settings()),
        (PERSIST.replace(b"ext4", b"tmpfs"), Settings(filesystems=("tmpfs",))),
        (PERSIST.replace(b"/persist", b"/var/crash"), Settings(mountpoint="/var/crash")),
    ],
)
def test_ready(table: bytes, settings: Settings) -> None:
    found = judge(parse_mountinfo(ROOT + table), None, settings)
    assert isinstance(found, Mount)
    assert found.mountpoint == settings.mountpoint


# The wait


async def test_it_returns_what_was_found(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    folder = simulated_machine.mount()
    with closing(await wait_for_storage(machine=simulated_machine)) as storage:
        storage.folder.write("hello", b"world", mode=0o600)
        assert storage.mount.source == "/dev/vdb1"
        assert storage.space.free_bytes == 64 * GIB
    assert (folder / "hello").read_bytes() == b"world"
    assert [file.name for file in folder.iterdir()] == ["hello"]


async def test_what_is_missing_is_told_once_for_each_change(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    said: list[tuple[float, str]] = []

    async def boot() -> None:
        await trio.sleep(100)
        for _ in range(3):  # events that change nothing
            simulated_machine.attach_partition("EFI", "/dev/vdb2")
        simulated_machine.attach_partition()
        await trio.sleep(100)
        simulated_machine.mount()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot)
        storage = await wait_for_storage(
            machine=simulated_machine, tell=lambda line: said.append((trio.current_time(), line))
        )
        storage.close()
    assert trio.current_time() == 200
    assert said == [
        (0, "waiting for /persist (device events: simulated)"),
        (0, "no device labelled P3 yet, /persist is not mounted"),
        (100, "/dev/vdb1 is there, /persist is not mounted"),
    ]
    assert simulated_machine.leftovers() == []


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EACCES])
async def test_a_mount_that_cannot_be_written_is_not_ready(
    simulated_machine: SimulatedMachine, error: int, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    said: list[str] = []
    simulated_machine.mount()
    simulated_machine.disk.fail(error)
    with trio.move_on_after(60) as wait:
        await wait_for_storage(machine=simulated_machine, tell=said.append)
    assert wait.cancelled_caught
    assert said[1:] == [f"/persist cannot be written: {os.strerror(error)}"]
    assert open_descriptors() <= before


async def test_a_full_disk_is_ready_since_room_can_be_made(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    simulated_machine.disk.fill()
    (await wait_for_storage(machine=simulated_machine)).close()


async def test_a_probe_that_hangs_is_told_and_not_repeated(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    before = open_descriptors()
    said: list[str] = []
    simulated_machine.disk.freeze()
    simulated_machine.mount()
    with trio.move_on_after(300):
        await wait_for_storage(machine=simulated_machine, tell=said.append)
    assert said[1:] == ["/persist is mounted, and writing to it hangs"]
    simulated_machine.disk.thaw()
    assert open_descriptors() <= before
    assert len([step for step in simulated_machine.journal if "probe" in step and "create" in step]) <= 1


async def test_a_mount_that_changes_under_the_probe_is_looked_at_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Racing(SimulatedMachine):
        """Where another file system comes on top just before the folder is opened."""

        races = 1

        def open_mount(self, mount: Mount):  # type: ignore[no-untyped-def]  # noqa: ANN202
            if self.races:
                self.races = 0
                self.mount(source="/dev/vdc1")
            return super().open_mount(mount)

    machine = Racing(tmp_path / "disk")
    machine.mount()
    said: list[str] = []
    with closing(await wait_for_storage(machine=machine, tell=said.append)) as storage:
        assert storage.mount.source == "/dev/vdc1"
    assert "/persist changed while it was opened" in said


async def test_a_line_of_the_mount_table_that_cannot_be_read_is_passed_over_and_said_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Odd(SimulatedMachine):
        """Where a kernel to come has a line that nobody knows."""

        def mounts(self) -> tuple[Mount, ...]:
            raise MountTableError("mount table: line 2 is not a mount", super().mounts())

    machine = Odd(tmp_path / "disk")
    said: list[str] = []

    async def boot() -> None:
        await trio.sleep(20)
        machine.mount()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot)
        (await wait_for_storage(machine=machine, tell=said.append)).close()
    assert said[1:] == [
        "mount table: line 2 is not a mount: it is passed over",
        "no device labelled P3 yet, /persist is not mounted",
    ]


async def test_settings_are_honoured(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    simulated_machine.mount("/var/crash", filesystem="xfs", source="/dev/sda1")
    settings = evolve(Settings(), mountpoint="/var/crash", filesystems=("xfs",))
    (await wait_for_storage(settings, machine=simulated_machine)).close()
