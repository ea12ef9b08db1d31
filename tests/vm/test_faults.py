"""What fails in the machine while the dump is written: it comes back each time, and the disk is true."""

import re
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from kdumpd import diskdump

from . import disk
from .disk import PersistDisk
from .mounting import next_boot
from .scenario import GIB, MIB, Run, Scenario, crash

pytestmark = pytest.mark.vm

TOTAL_S = 60
STALL_S = 10
STORAGE_WAIT_S = 5
WATCHDOG_S = 20
SLACK_S = 30  # a machine without KVM on a busy host
CONFIG = f"""
[storage]
wait_s = {STORAGE_WAIT_S}
[dump]
stall_s = {STALL_S}
[console]
line_delay_s = 0
[budget]
total_s = {TOTAL_S}
"""
PLAIN = Scenario(memory_bytes=GIB, persist_bytes=512 * MIB, storage_delay_s=0, config=CONFIG)
PROVISIONAL = re.compile(
    r"kernel panic, dmesg collected: /persist/kcrashes/dmesg-(\w+)\.log"
    r" \(no kdump: the machine went down while the dump was written\)\n"
)


@attrs.frozen(kw_only=True)
class Left:
    """What the next boot found on persist."""

    reason: str
    boot_reason: str
    stack: bytes
    crashes: dict[str, int]

    @classmethod
    def on(cls, persist: PersistDisk) -> "Left":
        with next_boot(persist) as root:
            return cls(
                reason=text_of(root / "reboot-reason"),
                boot_reason=text_of(root / "boot-reason"),
                stack=text_of(root / "reboot-stack").encode(),
                crashes={path.name: path.stat().st_size for path in root.glob("kcrashes/*")},
            )

    def require_provisional(self) -> str:
        """The verdict is the provisional one and all that it says is there; returns the crash's stamp."""
        verdict = PROVISIONAL.fullmatch(self.reason)
        assert verdict, self
        assert self.boot_reason == "BootReasonKernel\n"
        assert b"sysrq triggered crash" in self.stack
        assert self.crashes.keys() >= {f"dmesg-{verdict[1]}.log", f".kdumpd-kdump-{verdict[1]}.dump.tmp"}
        assert f"kdump-{verdict[1]}.dump" not in self.crashes
        return verdict[1]


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def inject(fault: str, scenario: Scenario = PLAIN, *, before: str = "") -> Scenario:
    """The scenario with a fault in the middle of the dump."""
    hooks = {**scenario.hooks, "collect": f"{before}\nfault={fault}\n. /scenario/inject\n"}
    return attrs.evolve(scenario, hooks=hooks)


def seconds(run: Run, begin: str, end: str) -> float:
    return run.time_of(end) - run.time_of(begin)


def test_watchdog_resets_a_kdumpd_that_stands_still(crashed: Callable[[Scenario], Run]) -> None:
    # trixie's kernel has the driver
    with_watchdog = attrs.evolve(PLAIN, suite="trixie", devices=("i6300esb",))
    driver = f"modprobe i6300esb heartbeat={WATCHDOG_S} || fail 'no watchdog'"
    run = crashed(inject("stopped", with_watchdog, before=driver))
    assert run.ending == "guest-reset", run.text
    # it was petted until then, or it had bitten before
    assert 1 < seconds(run, "vm: stopped, in the middle", "qemu: WATCHDOG") < WATCHDOG_S + SLACK_S
    Left.on(run.persist).require_provisional()


def test_reset_in_the_middle_and_the_run_after_it(tmp_path: Path) -> None:
    persist = disk.make(tmp_path / "persist.img", size_bytes=512 * MIB, filesystem="ext4")
    run = crash_in(tmp_path / "first", inject("reset"), persist)
    assert run.ending == "host-qmp-system-reset", run.text
    stamp = Left.on(persist).require_provisional()

    again = crash_in(tmp_path / "second", inject("no-sysrq"), persist)
    assert again.ending == "guest-reset", again.text
    again.time_of("kdumpd: an earlier run was cut off; removed ")
    left = Left.on(persist)
    assert not [name for name in left.crashes if name.startswith(".")]
    assert f"dmesg-{stamp}.log" in left.crashes
    require_dump(persist, left)
    # the kernel says this where sysrq restarts it; reboot(2) did
    assert "sysrq: Resetting" not in again.text
    assert seconds(again, "kdumpd: kernel panic, kdump collected", "qemu: SHUTDOWN") < SLACK_S


def crash_in(folder: Path, scenario: Scenario, persist: PersistDisk) -> Run:
    folder.mkdir()
    return crash(scenario, folder, persist=persist)


def require_dump(persist: PersistDisk, left: Left) -> None:
    """The verdict names a dump, which is whole."""
    collected = r"kernel panic, kdump collected: /persist/(kcrashes/kdump-\w+\.dump)\n"
    verdict = re.fullmatch(collected, left.reason)
    assert verdict, left
    with next_boot(persist) as root, (root / verdict[1]).open("rb") as file:
        assert diskdump.check(file.fileno()).complete


def test_panic_of_the_capture_kernel(crashed: Callable[[Scenario], Run]) -> None:
    run = crashed(inject("panic"))
    assert run.ending == "guest-reset", run.text
    # by kernel.panic, which is -1; not by a budget
    assert seconds(run, "vm: panic, in the middle", "qemu: SHUTDOWN") < SLACK_S
    Left.on(run.persist).require_provisional()


def test_storage_that_never_appears(crashed: Callable[[Scenario], Run]) -> None:
    run = crashed(attrs.evolve(PLAIN, hooks={"storage-init": "true\n"}))
    assert run.ending == "guest-reset", run.text
    run.time_of("kdumpd: kernel panic, nothing collected: there was no storage to write to")
    assert seconds(run, "kdumpd: waiting for /persist", "qemu: SHUTDOWN") < STORAGE_WAIT_S + SLACK_S
    assert Left.on(run.persist) == Left(reason="", boot_reason="", stack=b"", crashes={})


def test_disk_unplugged(crashed: Callable[[Scenario], Run]) -> None:
    run = crashed(inject("unplugged"))
    assert run.ending == "guest-reset", run.text
    assert seconds(run, "vm: unplugged, in the middle", "qemu: DEVICE_DELETED") < SLACK_S
    assert seconds(run, "vm: unplugged, in the middle", "qemu: SHUTDOWN") < STALL_S + SLACK_S
    Left.on(run.persist).require_provisional()


def test_memory_runs_out(crashed: Callable[[Scenario], Run]) -> None:
    run = crashed(attrs.evolve(inject("no-memory"), limit_s=240))
    assert run.ending == "guest-reset", run.text
    assert "Out of memory: Killed process" in run.text
    left = Left.on(run.persist)
    collected = r"kernel panic, (?:kdump|dmesg) collected: /persist/kcrashes/\w+-(\w+)\..+\n"
    said = re.fullmatch(collected, left.reason)
    assert said, left
    assert left.crashes.keys() >= {f"dmesg-{said[1]}.log", f"crash-{said[1]}.json"}
    assert not [name for name in left.crashes if name.startswith(".")]
