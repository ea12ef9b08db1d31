"""Every way in which makedumpfile can fail, with the real one's stream up to the fault."""

import pytest

from .crash import FaultRun
from .volume import Volume

pytestmark = pytest.mark.system

fault = pytest.mark.fault


@fault("none", "a whole run with nothing wrong, to compare the times with")
def test_nothing_wrong(crash: FaultRun) -> None:
    crash.mount()
    ran = crash.run()
    assert ran.code == 0
    crash.assert_collected("dump")
    assert "BEGIN kernel panic" in ran.console
    assert crash.record()["warnings"] == []


@fault("makedumpfile is missing", "`dump.makedumpfile` names no file")
def test_missing(crash: FaultRun) -> None:
    crash.mount()
    crash.configure("dump", makedumpfile="/nonexistent/makedumpfile")
    crash.take_log_of_vmcore_dmesg()
    crash.run()
    crash.assert_collected("log", "/nonexistent/makedumpfile not found")
    assert crash.record()["log"] == {
        "name": crash.dmesg.name,
        "size_bytes": len(crash.log),
        "tool": "vmcore-dmesg",
    }


@fault("makedumpfile is not executable", "a script with mode 0644")
def test_not_executable(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("stops")
    program = crash.folder / "makedumpfile"
    program.chmod(0o644)
    crash.take_log_of_vmcore_dmesg()
    crash.run()
    crash.assert_collected("log", f"{program} cannot be run: Permission denied")


@fault("makedumpfile exits at once", "exit code 1 before the first byte of a record")
def test_exits_at_once(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("exit_at_once")
    crash.run()
    crash.assert_collected("log", "makedumpfile ended with exit code 1: makedumpfile: no luck today.")


@fault("makedumpfile exits in the middle", "exit code 1 after 24 MiB")
def test_exits_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("exit_in_the_middle")
    crash.run()
    why = "makedumpfile ended with exit code 1: readpage_elf: Can't read the dump memory."
    crash.assert_collected("part", why)


@fault("makedumpfile fails after the last byte", "exit code 1 after the end record")
def test_exits_after_the_last_byte(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("exit_after_the_last_byte")
    crash.run()
    crash.assert_collected("part", "makedumpfile ended with exit code 1: something went wrong after all")


@fault("makedumpfile is killed", "SIGKILL after 24 MiB")
def test_killed(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("killed")
    crash.run()
    crash.assert_collected("part", "makedumpfile was killed by signal 9")


@fault("makedumpfile stops writing for ever", "sleeps after 24 MiB; `stall_s` is 2")
def test_stops(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("stops")
    crash.configure("dump", stall_s=2)
    crash.run()
    crash.assert_collected("part", "no progress for 2 s")


@fault("makedumpfile says the same for ever", "no byte after 24 MiB and one percentage; `stall_s` is 2")
def test_stops_and_talks(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("stops_and_talks")
    crash.configure("dump", stall_s=2)
    crash.run()
    crash.assert_collected("part", "no progress for 2 s")


@fault(
    "makedumpfile ignores SIGTERM", "ignores SIGTERM, SIGINT, SIGHUP and SIGPIPE, and stops; `stall_s` is 2"
)
def test_ignores_signals(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("ignores_signals")
    crash.configure("dump", stall_s=2)
    crash.run()
    crash.assert_collected("part", "no progress for 2 s")


@fault("a slow first phase (no fault)", "3 s of percentages without a byte; `stall_s` is 1")
def test_a_slow_start_is_no_stall(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("slow_start")
    crash.configure("dump", stall_s=1)
    crash.run()
    crash.assert_collected("dump")


@fault("makedumpfile floods its standard error", "24 MiB of escape sequences, NULs and invalid UTF-8")
def test_floods(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("floods")
    ran = crash.run()
    crash.assert_collected("dump")
    assert "\x1b" not in ran.console


@fault("the stream ends early", "exit code 0 after 24 MiB, no end record")
def test_ends_early(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("ends_early")
    crash.run()
    crash.assert_collected("part", "the flattened stream ended without its end record")


@fault("the stream ends inside a record", "exit code 0 with 1000 bytes of a record of 1 MiB")
def test_ends_inside_a_record(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("ends_inside_a_record")
    crash.run()
    crash.assert_collected("part", "the flattened stream ended early, 1047576 bytes short of a record")


@pytest.mark.parametrize(
    ("behaviour", "offset", "size"),
    [
        pytest.param("negative_offset", -4096, 4096, marks=fault("negative offset", "a record at -4096")),
        pytest.param("huge_offset", 1 << 62, 4096, marks=fault("huge offset", "a record at 2^62")),
        pytest.param("negative_size", None, -4096, marks=fault("negative size", "a record of -4096 bytes")),
    ],
)
def test_impossible_record(crash: FaultRun, behaviour: str, offset: int | None, size: int) -> None:
    crash.mount()
    crash.stand_in(behaviour)
    crash.run()
    assert crash.reason is not None
    why = crash.reason.partition("(incomplete: ")[2].removesuffix(")\n")
    assert why.startswith("flattened record out of range: offset ")
    assert why.endswith(f"size {size}")
    assert offset is None or f"offset {offset}," in why
    crash.assert_collected("part", why)


@fault("offset beyond the free space", "a record at 2^40")
def test_far_offset(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("far_offset")
    crash.run()
    free = crash.volume.floor_mib()
    crash.assert_collected("part", f"space ran out: {free} MiB must stay free")


@fault("overlapping record", "64 KiB of garbage over the page descriptors")
def test_overlapping(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("overlapping")
    crash.run()
    assert crash.reason is not None
    why = crash.reason.partition("(no kdump: ")[2].removesuffix(")\n")
    assert why.startswith("the dump is damaged: ")
    crash.assert_collected("log", why)


@fault("garbage from the first byte", "random bytes, then exit code 0")
def test_garbage_from_the_start(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("garbage_from_the_start")
    crash.run()
    crash.assert_collected("log", "what makedumpfile wrote is not a flattened stream")


@fault("garbage in the middle", "random bytes after 24 MiB")
def test_garbage_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("garbage_in_the_middle")
    crash.run()
    assert crash.reason is not None
    why = crash.reason.partition("(incomplete: ")[2].removesuffix(")\n")
    assert why.startswith("flattened record out of range: offset ")
    crash.assert_collected("part", why)


@fault("makedumpfile writes for ever", "the file grows without an end")
def test_writes_for_ever(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("writes_for_ever")
    crash.run()
    crash.assert_collected("part", f"space ran out: {crash.volume.floor_mib()} MiB must stay free")


@fault("makedumpfile writes for ever in one place", "64 KiB again and again; `dump.time_s` is 3")
def test_writes_the_same_for_ever(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("writes_the_same_for_ever")
    crash.configure("dump", time_s=3)
    crash.run()
    crash.assert_collected("part", "time budget of 3 s ran out")


@fault("the size budget runs out", "`dump.max_bytes` is 30000000")
def test_size_budget(crash: FaultRun) -> None:
    crash.mount()
    crash.configure("dump", max_bytes=30_000_000)
    crash.run()
    crash.assert_collected("part", "size budget of 30000000 bytes ran out")
    assert crash.dump.stat().st_size <= 30_000_000


@fault("makedumpfile does not exit", "sleeps after the end record")
def test_stays_after_the_end(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("stays_after_the_end")
    crash.run(within_s=20)
    crash.assert_collected("dump")


@fault("makedumpfile ignores SIGKILL", "hangs in the kernel, in a write to another volume that is frozen")
def test_ignores_sigkill(crash: FaultRun, other_volume: Volume) -> None:
    crash.mount()
    crash.stand_in("writes_to_storage")
    crash.configure("dump", stall_s=2)
    (crash.meeting / "storage").write_text(str(other_volume.mountpoint))
    running = crash.start_to_the_middle()
    other_volume.freeze()
    crash.go_on()
    crash.finish(running)
    crash.assert_collected("part", "no progress for 2 s")


@fault("free pages are kept silently", "the page report says `Free pages : 0x0`")
def test_free_pages_kept(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("keeps_free_pages")
    crash.run()
    crash.assert_collected("log", "free pages were not excluded")


@fault("another dump level than asked for", "makedumpfile runs with `-d 23`: user pages stay")
def test_other_level(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("other_level")
    crash.run(within_s=25)
    crash.assert_collected("log", "its dump level is 23, not 31")
