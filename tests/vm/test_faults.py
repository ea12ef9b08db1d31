"""What fails in the machine while the dump is written: it comes back each time, and the disk is true."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import attrs
import drgn
import pytest

from kdumpd.dump import kdumpfile

from . import disk
from .disk import PersistDisk
from .evidence import Evidence
from .mounting import attached, e2fsck, mounted, next_boot
from .scenario import GIB, GUEST, MIB, Run, Scenario, crash
from .symbols import symbols

pytestmark = pytest.mark.vm

TOTAL_S = 60
STALL_S = 10
STORAGE_WAIT_S = 20  # of which an emulated machine may need some to look at storage at all
WATCHDOG_S = 20
SIZE_BYTES = 16 * MIB
SLACK_S = 30  # a machine without KVM on a busy host
CONFIG = f"""
[storage]
wait_s = {STORAGE_WAIT_S}
[dump]
stall_s = {STALL_S}
compression = "lzo"
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

Opened = Callable[[PersistDisk], AbstractContextManager[Path]]


@attrs.frozen(kw_only=True)
class Left:
    """What the next boot found on persist."""

    reason: str
    boot_reason: str
    stack: bytes
    crashes: dict[str, int]

    @classmethod
    def on(cls, persist: PersistDisk, opened: Opened = next_boot) -> "Left":
        with opened(persist) as root:
            return cls(
                reason=text_of(root / "reboot-reason"),
                boot_reason=text_of(root / "boot-reason"),
                stack=text_of(root / "reboot-stack").encode(),
                crashes={path.name: path.stat().st_size for path in root.glob("kcrashes/*")},
            )

    def require_log(self) -> str:
        """There is a verdict, whatever it says, and the log; returns the crash's stamp."""
        collected = r"kernel panic, (?:kdump|dmesg) collected: /persist/kcrashes/\w+-(\w+)\..+\n"
        verdict = re.fullmatch(collected, self.reason)
        assert verdict, self
        assert f"dmesg-{verdict[1]}.log" in self.crashes
        return verdict[1]

    def require_provisional(self) -> str:
        """The verdict is the provisional one and all that it says is there; returns the crash's stamp."""
        verdict = PROVISIONAL.fullmatch(self.reason)
        assert verdict, self
        assert self.boot_reason == "BootReasonKernel\n"
        assert b"sysrq triggered crash" in self.stack
        assert self.crashes.keys() >= {f"dmesg-{verdict[1]}.log", f".kdumpd-kdump-{verdict[1]}.dump.1.tmp"}
        assert f"kdump-{verdict[1]}.dump" not in self.crashes
        return verdict[1]


@contextmanager
def repaired(persist: PersistDisk) -> Iterator[Path]:
    """P3 after I/O errors. ext4 has noted them, and so e2fsck looks at all of it; what it mends is no more
    than counters, and one pass is enough.
    """
    with attached(persist) as device:
        code, text = e2fsck("-y", device)
        assert code in (0, 1), text
        assert e2fsck("-fn", device)[0] == 0
        assert not re.search(r"Pass [1-4].*\n(?!Pass )", text), text
        with mounted(device, "noatime") as root:
            yield root


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
    require_whole(persist, verdict[1])


def require_whole(persist: PersistDisk, dump: str, opened: Opened = next_boot) -> None:
    with opened(persist) as root, (root / dump).open("rb") as file:
        assert kdumpfile.check(file.fileno()).complete


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
    assert f"crash-{left.require_log()}.json" in left.crashes
    assert not [name for name in left.crashes if name.startswith(".")]


def test_disk_that_takes_no_write(crashed: Callable[[Scenario], Run]) -> None:
    run = crashed(inject("no-write-at-once"))
    assert run.ending == "guest-reset", run.text
    run.time_of("kdumpd: /persist cannot be written: ")
    run.time_of("kdumpd: kernel panic, nothing collected: there was no storage to write to")
    assert seconds(run, "kdumpd: waiting for /persist", "qemu: SHUTDOWN") < STORAGE_WAIT_S + SLACK_S
    assert Left.on(run.persist) == Left(reason="", boot_reason="", stack=b"", crashes={})


def test_dump_that_may_get_no_longer(collected: Callable[[Scenario], Evidence], tmp_path: Path) -> None:
    cut = CONFIG.replace("[dump]", f"[dump]\nmax_bytes = {SIZE_BYTES}")
    evidence = collected(attrs.evolve(PLAIN, config=cut))
    why = f"size budget of {SIZE_BYTES} bytes ran out"
    reason = f"kernel panic, kdump collected: /persist/kcrashes/{evidence.dump.name} (incomplete: {why})\n"
    assert (evidence.root / "reboot-reason").read_text() == reason
    assert evidence.dump.stat().st_size <= SIZE_BYTES
    # makedumpfile had not come to the end of memory: what is needed from there was added
    assert evidence.record["dump"]["added_pages"] > 1000
    assert b"sysrq triggered crash" in evidence.log(tmp_path)
    program = drgn.Program()
    program.set_core_dump(evidence.dump)
    program.load_debug_info([str(file) for file in symbols(PLAIN.suite).glob("vmlinux-*")])
    assert program.crashed_thread().tid == 1
    assert "sysrq_handle_crash" in str(program.crashed_thread().stack_trace())


# So that the next flush is the one which the fsync of the finished dump asks for.
NO_COMMITS_BETWEEN = """
until grep -q ' /persist ' /proc/mounts; do sleep 0.1; done
mount -o remount,commit=300 /persist
"""


def test_flush_of_the_finished_dump_fails(crashed: Callable[[Scenario], Run]) -> None:
    run = crashed(inject("no-flush", before=NO_COMMITS_BETWEEN))
    assert run.ending == "guest-reset", run.text
    run.time_of("(no kdump: the dump was written; finishing it failed: Input/output error)")
    assert seconds(run, "vm: no-flush, in the middle", "qemu: SHUTDOWN") < STALL_S + SLACK_S
    Left.on(run.persist, repaired).require_provisional()


def on_dm(fault: str) -> Scenario:
    """The scenario with P3 under device mapper, which changes in the middle of the dump."""
    plain = attrs.evolve(PLAIN, hooks={"storage-init": ". /scenario/storage-on-dm\n"})
    return inject(fault, plain)


def test_disk_turns_to_errors(crashed: Callable[[Scenario], Run]) -> None:
    run = crashed(on_dm("disk-error"))
    assert run.ending == "guest-reset", run.text
    run.time_of("Remounting filesystem read-only")
    assert seconds(run, "vm: disk-error, in the middle", "qemu: SHUTDOWN") < STALL_S + SLACK_S
    Left.on(run.persist, repaired).require_provisional()


def test_device_events_overrun(crashed: Callable[[Scenario], Run]) -> None:
    # it is stopped for some seconds of the wait
    patient = attrs.evolve(PLAIN, config=CONFIG.replace(f"wait_s = {STORAGE_WAIT_S}", "wait_s = 60"))
    # storage is there when the fault is over, and storage-init itself has nothing to do
    storage = (GUEST / "storage-init").read_text()
    hooks = {"storage": storage, "storage-init": "true\n"}
    run = crashed(inject("overrun-while-waiting", attrs.evolve(patient, hooks=hooks)))
    assert run.ending == "guest-reset", run.text
    lost = re.search(r"vm: events lost: (\d+)", run.text)
    assert lost, run.text
    assert int(lost[1]) > 90_000
    assert "Out of memory" not in run.text
    require_dump(run.persist, Left.on(run.persist))
