"""From a real panic to the reboot, whichever way the kernel died, with kdumpd as it is installed."""

import re
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from .evidence import BEGIN, END, Evidence
from .scenario import GIB, MIB, Scenario

pytestmark = pytest.mark.vm

SUITES = ("bookworm", "trixie")
# for each way to die: the cause in the record, the line that says it, and who is to blame in the trace
TRIGGERS = {
    "sysrq-c": ("sysrq", "Kernel panic - not syncing: sysrq triggered crash", "sysrq_handle_crash+"),
    "killed-init": ("killed-init", "Kernel panic - not syncing: Attempted to kill init!", "do_exit"),
    "null-dereference": ("null-dereference", "BUG: kernel NULL pointer dereference", "write_to_null+"),
    "nmi": ("nmi", "Kernel panic - not syncing: NMI: Not continuing", "<NMI>"),
    "hung-task": ("hung-task", "Kernel panic - not syncing: hung_task: blocked tasks", "sleep_for_ever+"),
    "soft-lockup": ("soft-lockup", "Kernel panic - not syncing: softlockup: hung tasks", "spin_for_ever+"),
}
# where kdumpd's container and the guest's scripts both see it
SHOWN = "/dev/shown"
WHEN_SHOWN = f"""
until grep -q -e '{END}' {SHOWN} 2> /tmp/none; do sleep 0.2; done
echo "vm: the panic is on the console"
"""
QUICK = "[console]\nline_delay_s = 0.01\n"
# zstd, the default, costs an emulated processor seconds for each of these
SOON = Scenario(memory_bytes=GIB, storage_delay_s=0, config=f'[dump]\ncompression = "lzo"\n{QUICK}')
# there is no disk until kdumpd has shown what it knows
LATE = attrs.evolve(
    SOON,
    config=f'{QUICK}targets = ["/dev/console", "{SHOWN}"]\n',
    hooks={"collect": f": > {SHOWN}\n", "before-storage": WHEN_SHOWN},
)
# EVE's log buffer, full: 2 MiB of text and more, since each line has its time when it is read
FULL_LOG = attrs.evolve(
    SOON,
    suite="trixie",
    command_line="log_buf_len=2M printk.devkmsg=on",
    hooks={"before-crash": "perl /scenario/talk\n", "collect": "perl /scenario/peaks &\n"},
)
# what kdumpd and its tools may take of the 80 MiB that a capture kernel has, each at its peak
MOST_KIB = {"kdumpd": 50 << 10, "log": 16 << 10, "dump": 8 << 10}
Collect = Callable[[Scenario], Evidence]


def test_sysrq_shows_the_panic_before_there_is_storage(collected: Collect) -> None:
    run = collected(LATE).run
    shown = [line for line in run.console if line.time_s > run.time_of(BEGIN)]
    (headline, *_) = [line for line in shown if "Kernel panic - not syncing" in line.text]
    assert headline.time_s < run.time_of("vm: mounted"), run.text
    assert run.time_of("kdumpd: waiting for /persist") < run.time_of("vm: mounted")
    assert run.time_of("vm: mounted") < run.time_of("kdumpd: kernel panic, kdump collected:")


def test_sysrq_leaves_all_files_with_their_modes(collected: Collect) -> None:
    evidence = collected(LATE)
    assert evidence.files == {
        "boot-reason": "0644",
        "reboot-reason": "0644",
        "reboot-stack": "0644",
        "kcrashes/": "0700",
        f"kcrashes/kdump-{evidence.stamp}.dump": "0600",
        f"kcrashes/dmesg-{evidence.stamp}.log": "0600",
        f"kcrashes/crash-{evidence.stamp}.json": "0600",
    }


def test_sysrq_leaves_the_reason_to_the_byte(collected: Collect) -> None:
    evidence = collected(LATE)
    reason = f"kernel panic, kdump collected: /persist/kcrashes/kdump-{evidence.stamp}.dump\n"
    log = (evidence.root / f"kcrashes/dmesg-{evidence.stamp}.log").read_bytes()
    assert (evidence.root / "reboot-reason").read_text() == reason
    assert (evidence.root / "boot-reason").read_text() == "BootReasonKernel\n"
    assert (evidence.root / "boot-reason").stat().st_mtime == evidence.crash_time_s
    assert (evidence.root / "reboot-stack").read_bytes() == log


def test_sysrq_leaves_a_dump_that_others_read(collected: Collect, tmp_path: Path) -> None:
    evidence = collected(LATE)
    log = (evidence.root / f"kcrashes/dmesg-{evidence.stamp}.log").read_bytes()
    assert evidence.log(tmp_path) == log
    assert b"sysrq triggered crash" in log
    assert evidence.vmcoreinfo["OSRELEASE"].endswith("-cloud-amd64")


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_trigger(collected: Collect, trigger: str, suite: str) -> None:
    full = (suite, trigger) == (FULL_LOG.suite, FULL_LOG.trigger)
    evidence = collected(FULL_LOG if full else attrs.evolve(SOON, suite=suite, trigger=trigger))
    cause, headline, blamed = TRIGGERS[trigger]
    assert evidence.run.ending == "guest-reset", evidence.run.text
    assert not evidence.run.persist.fault()
    assert headline in evidence.panic_text
    assert blamed in evidence.panic_text
    reason = (evidence.root / "reboot-reason").read_text()
    assert reason == f"kernel panic, kdump collected: /persist/kcrashes/kdump-{evidence.stamp}.dump\n"
    assert headline in (evidence.root / "reboot-stack").read_text()
    assert evidence.record["cause"] == cause
    assert evidence.record["dump"]["state"] == "complete"


def test_a_full_log_of_two_mib(collected: Collect, tmp_path: Path) -> None:
    evidence = collected(FULL_LOG)
    log = (evidence.root / f"kcrashes/dmesg-{evidence.stamp}.log").read_bytes()
    assert len(log) > 2 * MIB
    assert evidence.log(tmp_path) == log
    assert b"sysrq triggered crash" in log
    assert evidence.record["log"]["size_bytes"] == len(log)
    stack = (evidence.root / "reboot-stack").read_bytes()
    assert log.endswith(stack)
    assert len(stack) > MIB // 4
    peaks = {name: int(kib) for name, kib in re.findall(r"vm: peak of (\w+): (\d+) KiB", evidence.run.text)}
    assert peaks.keys() >= MOST_KIB.keys(), evidence.run.text
    for name, most_kib in MOST_KIB.items():
        assert peaks[name] < most_kib, evidence.run.text
