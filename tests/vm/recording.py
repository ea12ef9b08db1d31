"""A real vmcore, copied whole out of a capture kernel."""

import os
import re
import tempfile
from pathlib import Path

import attrs

from . import cache, image
from .command import run
from .scenario import GUEST, Scenario, crash

FILL = """
root=$(grep -lx root /sys/block/*/serial)
root=${root%/serial}
ln -s "/dev/${root##*/}" /tmp/disk-root
perl /scenario/fill &
while [ ! -e /tmp/filled ]; do sleep 0.2; done
cat /proc/meminfo
"""
# the memory is nearly full, and two processes take and free much of it, as huge pages too
PRESSURE = """
echo always > /sys/kernel/mm/transparent_hugepage/enabled
perl -e '
    fork;
    my $kept = "k" x (300 << 20);
    while (1) { my $freed = "f" x (1 + int(rand(400 << 20))); }
' &
sleep 15
cat /proc/meminfo
"""
COPY = """
disk=$(grep -lx recording /sys/block/*/serial)
disk=${disk%/serial}
dd if=/proc/vmcore of="/dev/${disk##*/}" bs=1M iflag=fullblock oflag=direct
echo "vm: recorded $(stat -c %s /proc/vmcore) bytes"
echo b > /proc/sysrq-trigger
"""
SCENARIO = Scenario(hooks={"before-crash": FILL, "collect": COPY}, storage_delay_s=600, limit_s=300)


def vmcore(suite: str = "bookworm", before_crash: str = FILL) -> Path:
    """The /proc/vmcore of a machine whose 2 GiB of RAM are in use, recorded on first use. Needs root."""
    recipe = cache.digest(
        image.image(suite).root.parent.name, (GUEST / "fill").read_bytes(), before_crash, COPY
    )
    folder = cache.entry(
        f"vmcore-{suite}-{recipe}", lambda folder: _record(suite, before_crash, folder / "vmcore")
    )
    return folder / "vmcore"


def _record(suite: str, before_crash: str, path: Path) -> None:
    hooks = {**SCENARIO.hooks, "before-crash": before_crash}
    scenario = attrs.evolve(SCENARIO, suite=suite, hooks=hooks)
    path.touch()
    os.truncate(path, scenario.memory_bytes)
    with tempfile.TemporaryDirectory(prefix="kdumpd-recording-") as folder:
        recorded = crash(scenario, Path(folder), more_disks=[("recording", path, True)])
    size = re.search(r"vm: recorded (\d+) bytes", recorded.text)
    if size is None:
        raise RuntimeError(f"no vmcore was recorded; QEMU ended by {recorded.ending}:\n{recorded.text}")
    os.truncate(path, int(size[1]))
    run("fallocate", "--dig-holes", str(path))
