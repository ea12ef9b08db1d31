"""The promise that customers' data stays on the machine: a marker is looked for in every page of a dump.

Before the panic a process holds the marker in anonymous memory and in a mapped file's page cache, and has
freed memory that was full of it, tens of MiB of each. The capture kernel counts it in all of the memory, so
that finding none in the dump says something.

Pages that were freed last lie on the kernel's per-CPU lists, where makedumpfile can't tell them from pages
in use: no version excludes them. Measured with 60 MiB freed: 11 to 53 such pages in a dump of 6.1, 10022 in
one of 6.12, whose lists may hold an eighth of the memory. With `init_on_free=1` the kernel clears what is
freed, and nothing is found.
"""

import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator

import attrs
import drgn
import pytest

from kdumpd.dump.kdumpfile import read_header

from .evidence import Evidence
from .makedumpfile import PROGRAM
from .scenario import GIB, MIB, Scenario

pytestmark = pytest.mark.vm

MARKER = secrets.token_hex(16)
KINDS = ("held", "file", "freed")
PAGE = 4096
# what is in memory, or kept where it should not be, is tens of MiB
MANY_PAGES = 20 * MIB // PAGE
# the marking process works on blocks of this size, frees them, and what it frees may be of any kind
BLOCK_PAGES = MIB // PAGE
MARK = f"""
for file in /sys/class/block/*/uevent; do
    ! grep -qx PARTNAME=P3 "$file" || mount -t ext4 "/dev/$(basename "${{file%/uevent}}")" /persist
done
perl /scenario/mark {MARKER} /persist &
while [ ! -e /tmp/marked ]; do sleep 0.2; done
"""
MARKED = Scenario(
    memory_bytes=GIB,
    storage_delay_s=0,
    hooks={"before-crash": MARK, "collect": f"perl /scenario/count {MARKER}\n"},
    config="[console]\nline_delay_s = 0.01\n",
)
OWN = f'[dump]\nmakedumpfile = "{PROGRAM}"\n'
Collect = Callable[[Scenario], Evidence]


def found(evidence: Evidence) -> Counter[str]:
    """In how many pages of the dump the marker is, by where it was put; and how many pages there are."""
    counts: Counter[str] = Counter(pages=0)
    for page in pages(evidence):
        counts["pages"] += 1
        for kind in KINDS:
            counts[kind] += f"{MARKER}-{kind}".encode() in page
        # A page may begin and end in the middle of a marker; one that holds it holds it whole, many times.
    return counts


def in_memory(evidence: Evidence) -> dict[str, int]:
    """In how many pages of the crashed kernel's memory the marker was, by where it was put."""
    said = re.search(r"vm: in memory: held (\d+), file (\d+), freed (\d+)", evidence.run.text)
    assert said, evidence.run.text
    return dict(zip(KINDS, map(int, said.groups()), strict=True))


def pages(evidence: Evidence) -> Iterator[bytes]:
    """Every page that the dump says it holds, decompressed by drgn."""
    program = drgn.Program()
    program.set_core_dump(evidence.dump)
    fd = os.open(evidence.dump, os.O_RDONLY)
    header = read_header(fd)
    bitmap = os.pread(fd, header.bitmap_bytes, header.bitmap_offset + header.bitmap_bytes)
    os.close(fd)
    for index, byte in enumerate(bitmap):
        for bit in range(8):
            if byte >> bit & 1:
                yield program.read((index * 8 + bit) * PAGE, PAGE, physical=True)


@pytest.mark.parametrize(
    ("suite", "makedumpfile"),
    [("bookworm", "bookworm"), ("bookworm", ""), ("trixie", "")],
    ids=["6.1 with 1.7.2", "6.1 with the image's own", "6.12 with the image's own"],
)
def test_the_marker_is_nowhere(collected: Collect, suite: str, makedumpfile: str) -> None:
    config = MARKED.config + (OWN if makedumpfile else "")
    evidence = collected(
        attrs.evolve(
            MARKED, suite=suite, makedumpfile=makedumpfile, config=config, command_line="init_on_free=1"
        )
    )
    assert evidence.record["dump"]["state"] == "complete", evidence.run.text
    there, counts = in_memory(evidence), found(evidence)
    assert min(there["held"], there["file"]) > MANY_PAGES
    assert counts["pages"] > 1000
    assert (counts["held"], counts["file"], counts["freed"]) == (0, 0, 0)


def test_makedumpfile_older_than_the_kernel_keeps_freed_memory(collected: Collect) -> None:
    keep = MARKED.config + OWN + 'on_unfiltered = "keep"\n'
    evidence = collected(attrs.evolve(MARKED, suite="trixie", makedumpfile="trixie", config=keep))
    there, counts = in_memory(evidence), found(evidence)
    assert min(there.values()) > MANY_PAGES
    assert counts["freed"] > MANY_PAGES
    assert max(counts["held"], counts["file"]) <= BLOCK_PAGES
    assert evidence.record["dump"]["unfiltered"] == "free pages were not excluded"


def test_such_a_dump_is_discarded_and_the_reason_says_so(collected: Collect) -> None:
    scenario = attrs.evolve(MARKED, suite="trixie", makedumpfile="trixie", config=MARKED.config + OWN)
    evidence = collected(scenario)
    (log,) = evidence.root.glob("kcrashes/dmesg-*.log")
    assert list(evidence.root.glob("kcrashes/kdump-*")) == []
    assert list(evidence.root.glob("kcrashes/.*")) == []
    reason = f"kernel panic, dmesg collected: /persist/kcrashes/{log.name}"
    why = "no kdump: free pages were not excluded"
    assert (evidence.root / "reboot-reason").read_text() == f"{reason} ({why})\n"
    assert MARKER.encode() not in log.read_bytes()
