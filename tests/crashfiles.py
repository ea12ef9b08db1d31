"""Crash folders for tests: what a run, or EVE's older script, left behind."""

import os
from pathlib import Path

import attrs
from tests import makedump

from kdumpd.crashes.artefacts import make_stamp
from kdumpd.crashes.inventory import read_folder
from kdumpd.crashes.record import CrashRecord, Log, Phase
from kdumpd.dmesg.panic import find_panic
from kdumpd.dump import kdumpfile
from kdumpd.dump.verdict import NO_DUMP, Verdict

LOGS = Path(__file__).parent / "data/logs"
NULL, SYSRQ, HUNG = "null-dereference-6.12.log", "sysrq-6.12.log", "hung-task-6.12.log"
DUMP = makedump.kdump()
BUILD_ID = "3b43fad5034874490492495d552c0af6a5fab235"
CRASH_TIME_S = 1795401639


def leave(folder: Path, *, time_s: int = CRASH_TIME_S, log: str = NULL, dump: bytes = DUMP) -> str:
    """Put down what a run of kdumpd leaves: record, log and dump; returns the stamp."""
    stamp = make_stamp(time_s)
    text = (LOGS / log).read_bytes()
    (folder / f"dmesg-{stamp}.log").write_bytes(text)
    if dump:
        (folder / f"kdump-{stamp}.dump").write_bytes(dump)
    (folder / f"crash-{stamp}.json").write_bytes(record(folder, stamp, time_s, text).to_json())
    return stamp


def record(folder: Path, stamp: str, time_s: int, log: bytes) -> CrashRecord:
    found = find_panic(log)
    assert found is not None
    path = folder / f"kdump-{stamp}.dump"
    made = CrashRecord(
        stamp=stamp,
        crash_time_s=time_s,
        release="6.12.49-linuxkit",
        build_id=BUILD_ID,
        reason=f"kernel panic, kdump collected: /persist/kcrashes/{path.name}",
        log=Log(name=f"dmesg-{stamp}.log", size_bytes=len(log), tool="makedumpfile"),
        dump_name=path.name if path.exists() else None,
        dump=verdict(path) if path.exists() else NO_DUMP,
        phases=(
            Phase(name="log", start_s=0.03, duration_s=0.27),
            Phase(name="storage", start_s=0.02, duration_s=2.4),
            Phase(name="dump", start_s=2.6, duration_s=9.3),
        ),
        tools={"kdumpd": "0.1.0", "makedumpfile": "1.7.2"},
    )
    return made.with_panic(found)


def verdict(path: Path) -> Verdict:
    fd = os.open(path, os.O_RDONLY)
    try:
        found = kdumpfile.check(fd)
    finally:
        os.close(fd)
    return Verdict(
        state="complete" if found.complete else "incomplete",
        why=None if found.complete else "no progress for 60 s",
        size_bytes=found.size_bytes,
        compression=found.header.compression,
        level=found.header.dump_level,
        pages=found.pages,
        expected_pages=found.expected_pages,
    )


def rewrite(folder: Path, **changes: object) -> None:
    """Change keys of the newest record."""
    crash = read_folder(folder)[0]
    changed = attrs.evolve(crash.record, **changes)  # type: ignore[arg-type]
    crash.files["record"].path.write_bytes(changed.to_json())


def sealed(dump: bytes) -> bytes:
    """A dump with the incomplete bit in its header."""
    status = int.from_bytes(dump[424:428], "little") | makedump.INCOMPLETE
    return dump[:424] + status.to_bytes(4, "little") + dump[428:]
