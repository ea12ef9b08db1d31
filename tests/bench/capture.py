"""In a capture kernel, after a real panic: `kdumpd run --no-reboot` out of its image, and a shell script."""

import re
import tempfile
from pathlib import Path

import attrs
from tests.vm import recording
from tests.vm.makedumpfile import MOUNTPOINT, PROGRAM
from tests.vm.scenario import Run, crash

from .measure import Comparison, compare
from .whole import EVE_ORDER, LINE_DELAY_S, TEXT_S

# The program that both use is the guest's own: it has no zstd, so lzo.
CONFIG = f"""
[storage]
min_free_bytes = 0
[dump]
makedumpfile = "{PROGRAM}"
compression = "lzo"
[console]
line_delay_s = {LINE_DELAY_S}
[crash_loop]
dumps = 0
"""
COMPARE = """
while ! grep -q ' /persist ' /proc/mounts; do sleep 0.1; done
for name in dev proc sys persist tmp; do mount --rbind "/$name" "/app/$name"; done
mount --bind /scenario/kdumpd.toml /app/etc/kdumpd.toml
mount --bind /scenario/makedumpfile /app{mountpoint}
measure() {{
    rm -rf /persist/*
    sync
    began=$(date +%s.%N)
    "$@" || fail "$* left with exit status $?"
    echo "vm: bench ${{1##*/}} $began $(date +%s.%N)"
}}
for round in $(seq {rounds}); do
    measure chroot /app /usr/bin/kdumpd run --no-reboot
    measure sh /scenario/eve-order /proc/vmcore /persist /dev/console {delay_s} -d 31 -l
done
echo b > /proc/sysrq-trigger
sleep 60
"""
MEASURED = re.compile(r"vm: bench (\S+) ([\d.]+) ([\d.]+)")


def against_eve_order(rounds: int) -> list[Comparison]:
    """Process start to ready-to-reboot, one emulated CPU, 128 MiB; neither is in a container."""
    hooks = {
        "before-crash": recording.FILL,
        "collect": COMPARE.format(mountpoint=MOUNTPOINT, rounds=rounds + 1, delay_s=LINE_DELAY_S),
        "eve-order": EVE_ORDER.read_text(),
    }
    scenario = attrs.evolve(
        recording.SCENARIO,
        hooks=hooks,
        storage_delay_s=1,
        makedumpfile="bookworm",
        config=CONFIG,
        limit_s=120 + 90 * (rounds + 1),
    )
    with tempfile.TemporaryDirectory(prefix="kdumpd-bench-") as folder:
        run = crash(scenario, Path(folder))
    kdumpd, script = _seconds(run, "chroot"), _seconds(run, "sh")
    assert len(kdumpd) == len(script) == rounds + 1, run.text
    return [
        compare(
            f"run / EVE-ordered script, wall, in the VM, panic text of {TEXT_S} s",
            first="kdumpd run",
            second="shell script",
            unit="s",
            pairs=(kdumpd[1:], script[1:]),
            bar=0.6,
        )
    ]


def _seconds(run: Run, program: str) -> list[float]:
    found = (MEASURED.search(line.text) for line in run.console)
    return [float(one[3]) - float(one[2]) for one in found if one and one[1] == program]
