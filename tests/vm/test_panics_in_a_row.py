"""Panic after panic on the same disk: each ends in a reboot with its own reason, and retention holds."""

import os
import re
import time
from pathlib import Path

import attrs
import pytest

from kdumpd.dump import kdumpfile

from . import disk
from .disk import PersistDisk
from .mounting import next_boot
from .scenario import GIB, MIB, Scenario, crash

pytestmark = pytest.mark.vm

# 20 take too long for every change
PANICS = int(os.environ.get("KDUMPD_PANICS", "6"))
KEPT = 5
# three dumps, and the fourth crash is a loop for the default settings; from the fifth on that is switched off
LOOP = 4
# lzo is quick where the processor is emulated
CONFIG = '[dump]\ncompression = "lzo"\n[console]\nline_delay_s = 0\n'
PLAIN = Scenario(memory_bytes=GIB, storage_delay_s=0, config=CONFIG)
NO_LOOP = attrs.evolve(PLAIN, config=f"{PLAIN.config}[crash_loop]\ndumps = 0\n")


def test_panics_in_a_row(tmp_path: Path) -> None:
    began_s = time.monotonic()
    persist = disk.make(tmp_path / "persist.img", size_bytes=1024 * MIB, filesystem="ext4")
    stamps = [panic(number, tmp_path / str(number), persist) for number in range(1, PANICS + 1)]
    assert stamps == sorted(set(stamps))
    with next_boot(persist) as root:
        assert {path.name for path in root.glob("kcrashes/*")} == kept(stamps)
        for path in root.glob("kcrashes/*.dump"):
            with path.open("rb") as file:
                assert kdumpfile.check(file.fileno()).complete
    print(f"{PANICS} panics, one every {(time.monotonic() - began_s) / PANICS:.0f} s")


def panic(number: int, folder: Path, persist: PersistDisk) -> str:
    """One panic and the boot after it, which must find its verdict; returns its stamp."""
    folder.mkdir()
    run = crash(PLAIN if number <= LOOP else NO_LOOP, folder, persist=persist)
    assert run.ending == "guest-reset", run.text
    assert not persist.fault()
    with next_boot(persist) as root:
        stamp = stamp_of((root / "reboot-reason").read_text(), loop=number == LOOP)
        assert (root / "boot-reason").read_text() == "BootReasonKernel\n"
        assert b"sysrq triggered crash" in (root / "reboot-stack").read_bytes()
        assert (root / f"kcrashes/dmesg-{stamp}.log").exists()
    return stamp


def stamp_of(reason: str, *, loop: bool) -> str:
    """The crash's stamp, out of the verdict that it must have."""
    dump = r"kernel panic, kdump collected: /persist/kcrashes/kdump-(\w+)\.dump\n"
    log = (
        r"kernel panic, dmesg collected: /persist/kcrashes/dmesg-(\w+)\.log"
        r" \(no kdump: crash loop: 3 dumps within 3600 s\)\n"
    )
    verdict = re.fullmatch(log if loop else dump, reason)
    assert verdict, reason
    return verdict[1]


def kept(stamps: list[str]) -> set[str]:
    """The newest dumps and logs, and the records of those."""
    dumps = [stamp for number, stamp in enumerate(stamps, start=1) if number != LOOP][-KEPT:]
    logs = stamps[-KEPT:]
    return {
        *(f"kdump-{stamp}.dump" for stamp in dumps),
        *(f"dmesg-{stamp}.log" for stamp in logs),
        *(f"crash-{stamp}.json" for stamp in {*dumps, *logs}),
    }
