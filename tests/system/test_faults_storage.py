"""Every way in which storage can fail: before, in the middle of and after the dump, on a real ext4."""

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from .crash import FaultRun
from .faulty import FaultyFile
from .volume import MIB, Volume, command, tree

pytestmark = pytest.mark.system

fault = pytest.mark.fault


@fault("storage never appears", "nothing is mounted; `storage.wait_s` is 2")
def test_never_appears(crash: FaultRun) -> None:
    crash.configure("storage", wait_s=2)
    ran = crash.run()
    assert ran.code == 1
    assert f"kdumpd: {crash.persist} is not mounted (waited 2 s)" in ran.console
    assert "kdumpd: kernel panic, nothing collected: there was no storage to write to" in ran.console
    assert "BEGIN kernel panic" in ran.console
    assert os.listdir(crash.persist) == []


@fault("storage appears at the last second", "mounted 3.5 s into a wait of 4 s")
def test_appears_at_the_last_second(crash: FaultRun) -> None:
    crash.configure("storage", wait_s=4)
    running = crash.start()
    running.wait_for_line("is not mounted")
    time.sleep(3.3)
    crash.mount()
    crash.finish(running)
    crash.assert_collected("dump")


@fault("storage is unmounted in the middle", "`umount --lazy` after 24 MiB")
def test_unmounted_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    crash.volume.unmount("--lazy")
    crash.go_on()
    crash.finish(running)
    assert os.listdir(crash.persist) == []
    crash.volume.mount()
    crash.assert_collected("dump")


@fault("something is mounted over storage in the middle", "a tmpfs on the mount point after 24 MiB")
def test_mounted_over_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    command("mount", "-t", "tmpfs", "tmpfs", crash.persist)
    crash.go_on()
    crash.finish(running)
    assert os.listdir(crash.persist) == []
    crash.volume.unmount()
    crash.assert_collected("dump")


@fault("storage is read-only", "mounted with `ro`")
def test_read_only(crash: FaultRun) -> None:
    crash.mount()
    crash.volume.mount("remount,ro")
    crash.configure("storage", wait_s=1)
    ran = crash.run()
    assert ran.code == 1
    assert f"kdumpd: {crash.persist} is mounted read-only (waited 1 s)" in ran.console
    assert crash.reason is None
    crash.assert_true()


@fault("storage turns read-only in the middle", "an ext4 error with `errors=remount-ro` after 24 MiB")
def test_read_only_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.volume.mount("remount,errors=remount-ro")
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    crash.volume.break_file_system()
    crash.go_on()
    ran = crash.finish(running)
    assert ran.code == 1
    assert "the reasons were not written: " in ran.console
    assert "(no kdump: writing the dump failed: Read-only file system; finishing it failed: " in ran.console
    crash.volume.recover()
    crash.assert_provisional()


@fault("a tmpfs in place of storage", "mounted where storage should be")
def test_tmpfs(crash: FaultRun) -> None:
    command("mount", "-t", "tmpfs", "tmpfs", crash.persist)
    crash.configure("storage", wait_s=1)
    ran = crash.run()
    assert ran.code == 1
    assert f"kdumpd: {crash.persist} is tmpfs, not one of ext4 (waited 1 s)" in ran.console
    assert os.listdir(crash.persist) == []


@fault("a plain folder in place of storage", "writable, and not a mount; `storage.wait_s` is 1")
def test_plain_folder(crash: FaultRun) -> None:
    crash.configure("storage", wait_s=1)
    (crash.persist / "kcrashes").mkdir()
    ran = crash.run()
    assert ran.code == 1
    assert os.listdir(crash.persist / "kcrashes") == []


# Things in the way, also put there by an attacker.


@pytest.fixture
def outside(crash: FaultRun) -> Path:
    """A folder outside of storage with files whose names kdumpd would use; it must stay as it is."""
    folder = crash.folder / "outside"
    folder.mkdir()
    for number in range(8):
        (folder / f"kdump-2025010{number + 1}T000000Z.dump").write_bytes(b"precious")
    (folder / "reboot-reason").write_bytes(b"precious")
    (folder / ".kdumpd-probe.1.tmp").write_bytes(b"precious")
    return folder


@fault("a symbolic link in place of kcrashes", "attack: it leads to a folder outside full of artefact names")
def test_link_for_kcrashes(crash: FaultRun, outside: Path) -> None:
    before = tree(outside)
    crash.volume.mount()
    crash.kcrashes.symlink_to(outside)
    crash.run()
    assert tree(outside) == before
    crash.assert_reason(f"kernel panic, nothing collected: {crash.kcrashes} is not a folder\n")


@fault("a file in place of kcrashes", "a regular file")
def test_file_for_kcrashes(crash: FaultRun) -> None:
    crash.volume.mount()
    crash.kcrashes.write_bytes(b"mine")
    crash.run()
    assert crash.kcrashes.read_bytes() == b"mine"
    crash.assert_reason(f"kernel panic, nothing collected: {crash.kcrashes} is not a folder\n")


@fault("a FIFO in place of kcrashes", "one that nobody reads")
def test_fifo_for_kcrashes(crash: FaultRun) -> None:
    crash.volume.mount()
    os.mkfifo(crash.kcrashes)
    crash.run()
    crash.assert_reason(f"kernel panic, nothing collected: {crash.kcrashes} is not a folder\n")


@fault("links in place of the reason files", "attack: each leads to a file outside")
def test_links_for_the_reasons(crash: FaultRun, outside: Path) -> None:
    before = tree(outside)
    crash.mount()
    for name in ("reboot-reason", "reboot-stack", "boot-reason"):
        (crash.persist / name).symlink_to(outside / "reboot-reason")
    crash.run()
    assert tree(outside) == before
    crash.assert_collected("dump")


@fault("links in place of the temporary names", "attack: each leads to a file outside")
def test_links_for_temporaries(crash: FaultRun, outside: Path) -> None:
    before = tree(outside)
    crash.mount()
    for path in crash.temporaries():
        path.symlink_to(outside / "reboot-reason")
    crash.run()
    assert tree(outside) == before
    crash.assert_collected("dump", left=(*crash.WRITTEN, "reserve"))


@fault("FIFOs in place of the temporary names", "ones that nobody reads")
def test_fifos_for_temporaries(crash: FaultRun) -> None:
    crash.mount()
    for path in crash.temporaries():
        os.mkfifo(path)
    crash.run()
    crash.assert_collected("dump", left=(*crash.WRITTEN, "reserve"))


@fault("folders in place of the temporary names", "each with a file in it")
def test_folders_for_temporaries(crash: FaultRun) -> None:
    crash.mount()
    for path in crash.temporaries():
        path.mkdir()
        (path / "file").write_bytes(b"mine")
    crash.run()
    crash.assert_collected("dump", left=(*crash.WRITTEN, "reserve"))


@fault("folders in place of the reason files", "each with a file in it")
def test_folders_for_the_reasons(crash: FaultRun) -> None:
    crash.mount()
    for name in ("reboot-reason", "reboot-stack", "boot-reason"):
        (crash.persist / name).mkdir()
        (crash.persist / name / "file").write_bytes(b"mine")
    crash.run()
    crash.assert_collected("dump")


@fault("hard links in place of the reason files", "attack: each is another name of a file elsewhere")
def test_hard_links_for_the_reasons(crash: FaultRun) -> None:
    crash.mount()
    for name in ("reboot-reason", "reboot-stack", "boot-reason"):
        (crash.persist / name).hardlink_to(crash.persist / "vault" / "customer.data")
    crash.run()
    crash.assert_collected("dump")


@fault("kcrashes full of foreign files", "5000 files, and names that almost are artefacts'")
def test_foreign_files(crash: FaultRun) -> None:
    crash.mount()
    names = [f"kdump-2025010{number}T000000Z.dump.bak" for number in range(10)]
    names += [f"kdump-2025-{number}.dump" for number in range(10)] + ["kdump-.dump", "dmesg-\n.log"]
    crash.leave_older({f"kcrashes/{name}": b"mine" for name in names})
    for number in range(5000):
        (crash.kcrashes / f"{number}").touch()
    crash.run()
    for number in range(5000):
        (crash.kcrashes / f"{number}").unlink()
    crash.assert_collected("dump")


@fault("an immutable crash folder", "`chattr +i`")
def test_immutable_kcrashes(crash: FaultRun) -> None:
    crash.mount()
    command("chattr", "+i", crash.kcrashes)
    crash.run()
    command("chattr", "-i", crash.kcrashes)
    why = f"{crash.kcrashes} cannot be opened: Operation not permitted"
    crash.assert_reason(f"kernel panic, nothing collected: {why}\n")


@fault("an immutable reboot-reason", "`chattr +i` on one of an earlier panic")
def test_immutable_reason(crash: FaultRun) -> None:
    crash.mount()
    (crash.persist / "reboot-reason").write_text("an earlier panic\n")
    command("chattr", "+i", crash.persist / "reboot-reason")
    ran = crash.run()
    command("chattr", "-i", crash.persist / "reboot-reason")
    assert ran.code == 1
    assert "the reasons were not written: " in ran.console
    assert crash.dump.exists()


# No room.


@fault("storage is full", "root itself can write no byte")
def test_full(crash: FaultRun) -> None:
    crash.mount()
    crash.volume.fill()
    ran = crash.run()
    assert ran.code == 1
    crash.volume.unfill()
    crash.forget_evicted()
    crash.assert_true()
    assert not crash.dump.exists()
    assert "there was no room: " in ran.console


@fault("1 MiB free", "the rest is filled")
def test_one_mib_free(crash: FaultRun) -> None:
    crash.mount()
    crash.volume.fill(leave_bytes=MIB)
    crash.run()
    floor = crash.volume.floor_mib()
    crash.volume.unfill()
    crash.assert_collected("log", f"only 0 MiB free on {crash.persist}, and {floor} MiB must stay free")


@fault("200 KiB free", "the rest is filled")
def test_200_kib_free(crash: FaultRun) -> None:
    crash.mount()
    crash.volume.fill(leave_bytes=200 << 10)
    crash.run()
    floor = crash.volume.floor_mib()
    crash.volume.unfill()
    crash.assert_collected("log", f"only 0 MiB free on {crash.persist}, and {floor} MiB must stay free")


@fault("storage fills up in the middle", "another program takes all room after 24 MiB")
def test_fills_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    crash.volume.fill()
    crash.go_on()
    crash.finish(running)
    crash.volume.unfill()
    crash.assert_collected("part", "writing the dump failed: No space left on device")


@fault("no inodes left", "files until none can be made")
def test_no_inodes(crash: FaultRun, few_inodes: Volume) -> None:
    crash.mount()
    with contextlib.suppress(OSError):
        for number in range(100_000):
            (crash.persist / "vault" / f"{number}").touch()
    ran = crash.run()
    assert ran.code == 1
    for path in (crash.persist / "vault").iterdir():
        if path.name != "customer.data":
            path.unlink()
    crash.forget_evicted()
    crash.assert_true()


@fault("the floor is reached in the middle", "60 MiB more than the floor are free, no compression")
def test_the_floor_is_kept(crash: FaultRun) -> None:
    crash.mount()
    crash.configure("dump", compression="none")
    crash.volume.fill(leave_bytes=(crash.volume.floor_mib() + 60) * MIB)
    crash.run()
    crash.volume.unfill()
    crash.assert_collected("part", f"space ran out: {crash.volume.floor_mib()} MiB must stay free")


# Storage that hangs.


@fault("storage is frozen before the run", "`fsfreeze`; `storage.wait_s` is 2")
def test_frozen_before(crash: FaultRun) -> None:
    crash.mount()
    crash.volume.freeze()
    crash.configure("storage", wait_s=2)
    ran = crash.run()
    assert f"kdumpd: {crash.persist} is mounted, and writing to it hangs (waited 2 s)" in ran.console
    assert "kdumpd: kernel panic, nothing collected: there was no storage to write to" in ran.console
    crash.thaw()
    assert crash.reason is None
    crash.assert_true(
        left=("probe",)
    )  # its making hung in the kernel, and was done when nobody waited any more


@fault("storage is frozen in the middle", "`fsfreeze` after 24 MiB; `dump.stall_s` is 2")
def test_frozen_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    crash.configure("dump", stall_s=2)
    running = crash.start_to_the_middle()
    crash.volume.freeze()
    crash.go_on()
    ran = crash.finish(running)
    assert "(no kdump: no progress for 2 s; storage does not answer)" in ran.console
    crash.thaw()
    crash.assert_provisional()


@fault("storage is frozen after the last byte", "`fsfreeze` before the end record; `dump.stall_s` is 2")
def test_frozen_after(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_before_the_end")
    crash.configure("dump", stall_s=2)
    running = crash.start_to_the_middle()
    crash.volume.freeze()
    crash.go_on()
    ran = crash.finish(running)
    assert "(no kdump: the dump was written; storage does not answer)" in ran.console
    crash.thaw()
    crash.assert_provisional()


@fault("storage hangs and thaws in time", "frozen for 2 s after 24 MiB; `dump.stall_s` is 5")
def test_frozen_for_a_while(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    crash.configure("dump", stall_s=5)
    running = crash.start_to_the_middle()
    crash.volume.freeze()
    crash.go_on()
    time.sleep(2)
    crash.volume.thaw()
    crash.finish(running)
    crash.assert_collected("dump")


@fault("storage hangs past the total budget", "frozen after 24 MiB; `budget.total_s` is 4, `grace_s` 2")
def test_frozen_past_the_total_budget(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    crash.configure("budget", total_s=4, grace_s=2)
    running = crash.start_to_the_middle()
    crash.volume.freeze()
    crash.go_on()
    ran = crash.finish(running, within_s=9)
    assert "(no kdump: total budget of 4 s ran out)" in ran.console
    crash.thaw()
    crash.assert_provisional()


# Disks that break.


@fault("the disk is gone in the middle", "the disk under the loop device is taken away after 24 MiB")
def test_disk_gone(faulty_disk: FaultyFile, crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    faulty_disk.remove()
    crash.go_on()
    ran = crash.finish(running)
    assert ran.code == 1
    crash.volume.recover()
    crash.assert_provisional()


@fault("the disk breaks in the middle", "every write and read gives EIO after 24 MiB")
def test_disk_breaks(faulty_disk: FaultyFile, crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    faulty_disk.dead = True
    crash.go_on()
    ran = crash.finish(running)
    assert ran.code == 1
    faulty_disk.dead = False
    crash.volume.recover()
    crash.assert_provisional()


@fault("the disk refuses writes after the last byte", "EIO on every write before the end record")
def test_disk_refuses_after(faulty_disk: FaultyFile, crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_before_the_end")
    running = crash.start_to_the_middle()
    faulty_disk.read_only = True
    crash.go_on()
    ran = crash.finish(running)
    assert ran.code == 1
    faulty_disk.read_only = False
    crash.volume.recover()
    crash.assert_provisional()


@fault("the disk is broken from the start", "EIO on every write before the run; `storage.wait_s` is 2")
def test_disk_broken_before(faulty_disk: FaultyFile, crash: FaultRun) -> None:
    crash.mount()
    command("sync", "--file-system", crash.persist)
    faulty_disk.read_only = True
    crash.configure("storage", wait_s=2)
    ran = crash.run()
    assert ran.code == 1
    assert f"{crash.persist} cannot be written: Input/output error" in ran.console
    faulty_disk.read_only = False
    crash.volume.recover()
    assert crash.reason is None
    crash.assert_true()


@fault("one write is lost", "EIO for a single piece of the dump's data after 24 MiB, and never again")
def test_one_write_is_lost(faulty_disk: FaultyFile, crash: FaultRun) -> None:
    # in pieces that go through FUSE whole: of what is written in part, the loop device forgets the error
    longest = Path("/sys/block", Path(crash.volume.device).name, "queue/max_sectors_kb")
    before = longest.read_text()
    longest.write_text("64")
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    faulty_disk.lose_write_bytes = 64 << 10  # what ext4 writes of its own is smaller
    crash.go_on()
    crash.finish(running)
    longest.write_text(before)
    assert faulty_disk.lose_write_bytes == 0
    crash.assert_collected("log", "the dump was written; finishing it failed: Input/output error")


@fault("the disk cannot be read", "EIO on every read before the run, with nothing in the cache")
def test_disk_unreadable_before(faulty_disk: FaultyFile, crash: FaultRun) -> None:
    crash.mount()
    crash.volume.unmount()
    crash.volume.mount()
    faulty_disk.path.open("rb").close()  # FUSE forgets what it has cached
    faulty_disk.unreadable = range(faulty_disk.size_bytes)
    crash.configure("storage", wait_s=2)
    ran = crash.run()
    assert ran.code == 1
    assert f"{crash.persist} cannot be written: Input/output error (waited 2 s)" in ran.console
    faulty_disk.unreadable = range(0)
    crash.volume.recover()
    assert crash.reason is None
    crash.assert_true()


# Earlier runs.


@fault(
    "a reset in the middle of the dump", "the run is killed with SIGKILL after 24 MiB; another one follows"
)
def test_reset_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    running.kill()
    crash.assert_provisional()
    crash.go_on()
    crash.stamp += "-2"
    ran = crash.run()
    assert "an earlier run was cut off; removed " in ran.console
    crash.assert_collected("dump")


@fault("the sixth dump", "five dumps and logs, and an older record, are there")
def test_the_sixth(crash: FaultRun) -> None:
    crash.volume.mount()
    names = [f"2025010{day}T000000Z" for day in range(1, 6)]
    for stamp in names:
        crash.leave_older({f"kcrashes/kdump-{stamp}.dump": b"dump", f"kcrashes/dmesg-{stamp}.log": b"log"})
        crash.leave_older({f"kcrashes/crash-{stamp}.json": b"{}"})
    crash.leave_older({"kcrashes/mine.dump": b"mine"})
    crash.run()
    oldest = names[0]
    gone = [f"kdump-{oldest}.dump", f"dmesg-{oldest}.log", f"crash-{oldest}.json"]
    assert not [name for name in gone if (crash.kcrashes / name).exists()]
    crash.forget_older(*(f"kcrashes/{name}" for name in gone))
    crash.assert_collected("dump")
    assert len(list(crash.kcrashes.glob("kdump-*"))) == 5


@fault("a crash loop", "three dumps, by their records' uptimes within an hour")
def test_crash_loop(crash: FaultRun) -> None:
    crash.mount()
    for number, age_s in enumerate((1200, 600, 60), 1):
        stamp = crash.stamp_before(age_s)
        record = {
            "schema": 1,
            "stamp": stamp,
            "sequence": number,
            "lived_s": 600.0 * number,
            "crash_time_s": None,
        }
        record |= {"reason": "", "log": {"name": None, "size_bytes": 0, "tool": None}, "dump_name": None}
        crash.leave_older({f"kcrashes/kdump-{stamp}.dump": b"one of the loop"})
        crash.leave_older(
            {f"kcrashes/crash-{stamp}.json": json.dumps(record | {"dump": {"state": "complete"}}).encode()}
        )
    crash.run()
    crash.assert_collected("log", "crash loop: 3 dumps within 3600 s")


@fault("a second crash in the same second", "artefacts of the first one are there")
def test_same_second(crash: FaultRun) -> None:
    crash.mount()
    assert crash.run().code == 0
    first = crash.dump.read_bytes()
    first_dump = crash.dump
    crash.stamp += "-2"
    crash.run()
    crash.assert_collected("dump")
    assert first_dump.read_bytes() == first
