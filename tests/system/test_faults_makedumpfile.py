"""Every way in which makedumpfile can fail, with the real one's stream up to the fault."""

import re
from collections.abc import Mapping

import pytest
from attrs import field, frozen

from .crash import FaultRun
from .volume import Volume

pytestmark = pytest.mark.system

fault = pytest.mark.fault


@frozen
class StandIn:
    """A makedumpfile that misbehaves, and what must be collected all the same.

    Attributes:
        behaviour: a function of ``stand_ins/makedumpfile.py``.
        fault: what goes wrong; with `injected` it begins a row of docs/reliability.md.
        injected: how it is made to go wrong.
        kept: ``dump``, ``part`` of it, or ``log``.
        why: what the reason line gives as the cause, a regular expression; None when nothing is lacking.
        settings: keys of ``[dump]``.
        within_s: how long the run may take.
    """

    behaviour: str
    fault: str
    injected: str
    kept: str
    why: str | None = None
    settings: Mapping[str, float] = field(factory=dict, kw_only=True)
    within_s: float = field(default=15, kw_only=True)


EXIT_1 = "makedumpfile ended with exit code 1: "
NO_SPACE = r"space ran out: \d+ MiB must stay free"
OUT_OF_RANGE = r"flattened record out of range: offset {offset}, size {size}"

STAND_INS = (
    StandIn(
        "exit_at_once",
        "makedumpfile exits at once",
        "exit code 1 before the first byte of a record",
        "log",
        f"{EXIT_1}makedumpfile: no luck today\\.",
    ),
    StandIn(
        "exit_in_the_middle",
        "makedumpfile exits in the middle",
        "exit code 1 after 24 MiB",
        "part",
        f"{EXIT_1}readpage_elf: Can't read the dump memory\\.",
    ),
    StandIn(
        "exit_after_the_last_byte",
        "makedumpfile fails after the last byte",
        "exit code 1 after the end record",
        "part",
        f"{EXIT_1}something went wrong after all",
    ),
    StandIn(
        "killed",
        "makedumpfile is killed",
        "SIGKILL after 24 MiB",
        "part",
        "makedumpfile was killed by signal 9",
    ),
    StandIn(
        "stops",
        "makedumpfile stops writing for ever",
        "sleeps after 24 MiB; `stall_s` is 2",
        "part",
        "no progress for 2 s",
        settings={"stall_s": 2},
    ),
    StandIn(
        "stops_and_talks",
        "makedumpfile says the same for ever",
        "no byte after 24 MiB and one percentage; `stall_s` is 2",
        "part",
        "no progress for 2 s",
        settings={"stall_s": 2},
    ),
    StandIn(
        "ignores_signals",
        "makedumpfile ignores SIGTERM",
        "ignores SIGTERM, SIGINT, SIGHUP and SIGPIPE, and stops; `stall_s` is 2",
        "part",
        "no progress for 2 s",
        settings={"stall_s": 2},
    ),
    StandIn(
        "slow_start",
        "a slow first phase (no fault)",
        "3 s of percentages without a byte; `stall_s` is 1",
        "dump",
        settings={"stall_s": 1},
    ),
    StandIn(
        "floods",
        "makedumpfile floods its standard error",
        "24 MiB of escape sequences, NULs and invalid UTF-8",
        "dump",
    ),
    StandIn(
        "ends_early",
        "the stream ends early",
        "exit code 0 after 24 MiB, no end record",
        "part",
        "the flattened stream ended without its end record",
    ),
    StandIn(
        "ends_inside_a_record",
        "the stream ends inside a record",
        "exit code 0 with 1000 bytes of a record of 1 MiB",
        "part",
        "the flattened stream ended early, 1047576 bytes short of a record",
    ),
    StandIn(
        "negative_offset",
        "negative offset",
        "a record at -4096",
        "part",
        OUT_OF_RANGE.format(offset=-4096, size=4096),
    ),
    StandIn(
        "huge_offset",
        "huge offset",
        "a record at 2^62",
        "part",
        OUT_OF_RANGE.format(offset=1 << 62, size=4096),
    ),
    StandIn(
        "negative_size",
        "negative size",
        "a record of -4096 bytes",
        "part",
        OUT_OF_RANGE.format(offset=r"\d+", size=-4096),
    ),
    StandIn("far_offset", "offset beyond the free space", "a record at 2^40", "part", NO_SPACE),
    StandIn(
        "overlapping",
        "overlapping record",
        "64 KiB of garbage over the page descriptors",
        "log",
        "the dump is damaged: .+",
    ),
    StandIn(
        "garbage_from_the_start",
        "garbage from the first byte",
        "random bytes, then exit code 0",
        "log",
        "what makedumpfile wrote is not a flattened stream",
    ),
    StandIn(
        "garbage_in_the_middle",
        "garbage in the middle",
        "random bytes after 24 MiB",
        "part",
        OUT_OF_RANGE.format(offset=r"-?\d+", size=r"-?\d+"),
    ),
    StandIn(
        "writes_for_ever", "makedumpfile writes for ever", "the file grows without an end", "part", NO_SPACE
    ),
    StandIn(
        "writes_the_same_for_ever",
        "makedumpfile writes for ever at one offset",
        "64 KiB again and again; `dump.time_s` is 3",
        "part",
        "time budget of 3 s ran out",
        settings={"time_s": 3},
    ),
    StandIn(
        "stays_after_the_end",
        "makedumpfile does not exit",
        "sleeps after the end record",
        "dump",
        within_s=20,
    ),
    StandIn(
        "keeps_free_pages",
        "free pages are kept silently",
        "the page report says `Free pages : 0x0`",
        "log",
        "free pages were not excluded",
    ),
    StandIn(
        "other_level",
        "another dump level than asked for",
        "makedumpfile runs with `-d 23`: user pages stay",
        "log",
        "its dump level is 23, not 31",
        within_s=25,
    ),
)


@pytest.mark.parametrize(
    "stand_in",
    [pytest.param(case, id=case.behaviour, marks=fault(case.fault, case.injected)) for case in STAND_INS],
)
def test_makedumpfile_misbehaves(crash: FaultRun, stand_in: StandIn) -> None:
    crash.mount()
    crash.stand_in(stand_in.behaviour)
    crash.configure("dump", **stand_in.settings)
    ran = crash.run(within_s=stand_in.within_s)
    why = crash.why()
    assert re.fullmatch(stand_in.why or "None", str(why))
    crash.assert_collected(stand_in.kept, why)
    assert "\x1b" not in ran.console


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


@fault("the size budget runs out", "`dump.max_bytes` is 30000000")
def test_size_budget(crash: FaultRun) -> None:
    crash.mount()
    crash.configure("dump", max_bytes=30_000_000)
    crash.run()
    crash.assert_collected("part", "size budget of 30000000 bytes ran out")
    assert crash.dump.stat().st_size <= 30_000_000


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
