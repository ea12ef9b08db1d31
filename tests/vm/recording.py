"""A real vmcore, copied whole out of a capture kernel."""

import os
import re
import sys
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
# the marker is that of `test_markers`
MARK = """
for file in /sys/class/block/*/uevent; do
    ! grep -qx PARTNAME=P3 "$file" || mount -t ext4 "/dev/$(basename "${file%/uevent}")" /persist
done
perl /scenario/mark-all 2b7e151628aed2a6abf7158809cf4f3c /persist &
while [ ! -e /tmp/marked ]; do sleep 0.2; done
"""
COPY = """
disk=$(grep -lx recording /sys/block/*/serial)
disk=${disk%/serial}
dd if=/proc/vmcore of="/dev/${disk##*/}" bs=1M iflag=fullblock oflag=direct
echo "vm: recorded $(stat -c %s /proc/vmcore) bytes"
echo b > /proc/sysrq-trigger
"""
SCENARIO = Scenario(hooks={"before-crash": FILL, "collect": COPY}, storage_delay_s=600, limit_s=300)


def vmcore(suite: str = "bookworm", before_crash: str = FILL, command_line: str = "") -> Path:
    """The /proc/vmcore of a machine whose 2 GiB of RAM are in use, recorded on first use. Needs root."""
    scripts = [(GUEST / name).read_bytes() for name in ("fill", "mark-all")]
    recipe = cache.digest(image.image(suite).root.parent.name, *scripts, before_crash, command_line, COPY)
    hooks = {**SCENARIO.hooks, "before-crash": before_crash}
    scenario = attrs.evolve(SCENARIO, suite=suite, hooks=hooks, command_line=command_line)
    folder = cache.entry(f"vmcore-{suite}-{recipe}", lambda folder: _record(scenario, folder / "vmcore"))
    return folder / "vmcore"


def _record(scenario: Scenario, path: Path) -> None:
    print("recording the vmcore of a panic: some 60 s", file=sys.stderr, flush=True)
    path.touch()
    os.truncate(path, scenario.memory_bytes)
    with tempfile.TemporaryDirectory(prefix="kdumpd-recording-") as folder:
        recorded = crash(scenario, Path(folder), more_disks=[("recording", path, True)])
    size = re.search(r"vm: recorded (\d+) bytes", recorded.text)
    if size is None:
        raise RuntimeError(f"no vmcore was recorded; QEMU ended by {recorded.ending}:\n{recorded.text}")
    os.truncate(path, int(size[1]))
    run("fallocate", "--dig-holes", str(path))
