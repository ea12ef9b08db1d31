"""Where customers' data is before a panic, and what of it a dump holds: a marker is looked for in every page.

A process puts it into memory of all kinds (guest/mark-all). Then it is counted in all of the crashed memory,
in the dump that makedumpfile makes of it, and in the one from which the free pages are left out.
"""

import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.dump.eraser import Eraser
from kdumpd.dump.kdumpfile import check, descriptors
from kdumpd.vmcore.survey import Survey

from . import recording
from .streaming import passed, place, records, stream

pytestmark = [pytest.mark.vm, pytest.mark.campaign]

MARKER = b"2b7e151628aed2a6abf7158809cf4f3c"
assert MARKER.decode() in recording.MARK
KINDS = ("held", "hugetlb", "file", "tmpfs", "memfd", "freed", "pipe", "unix", "tcp", "key")
PAGE = 4096
# so many pages of a CPU may wait for their place among those of the page cache, and are not known for it yet
BATCH = 31
CPUS = 2


@pytest.mark.parametrize("command_line", ["", "init_on_alloc=0"], ids=["as Debian", "as EVE"])
@pytest.mark.parametrize("suite", ["bookworm", "trixie", "forky"])
def test_the_marker_is_where_it_must_be_and_nowhere_else(
    suite: str, command_line: str, tmp_path: Path
) -> None:
    vmcore = recording.vmcore(suite, recording.MARK, command_line)
    sent = stream(vmcore, tmp_path, "-c", "-d", "31")
    place(records(sent), tmp_path / "plain")
    eraser = Eraser(Survey.open(str(vmcore)).free_among)
    place(passed(eraser, sent), tmp_path / "erased")
    assert eraser.why_not is None
    memory, plain, erased = _in_memory(vmcore), _in_dump(tmp_path / "plain"), _in_dump(tmp_path / "erased")
    for kind in KINDS:
        print(f"{suite:10} {command_line:16} {kind:8} {memory[kind]:6} {plain[kind]:6} {erased[kind]:6}")
    print(f"{suite:10} {command_line:16} pages {plain['pages']}, left out {eraser.erased}")
    assert all(memory[kind] for kind in KINDS)
    assert erased["held"] == erased["hugetlb"] == 0
    assert max(erased[kind] for kind in ("file", "tmpfs", "memfd")) <= BATCH * CPUS
    assert erased["freed"] <= plain["freed"]


def _in_memory(vmcore: Path) -> Counter[str]:
    with vmcore.open("rb") as file:
        return _counted(iter(lambda: file.read(PAGE), b""))


def _in_dump(dump: Path) -> Counter[str]:
    return _counted(_pages(dump))


def _pages(dump: Path) -> Iterator[bytes]:
    with dump.open("rb") as file:
        found = check(file.fileno())
        for offset, size, flags in descriptors(file.fileno(), found.header, found.expected_pages):
            data = os.pread(file.fileno(), size, offset)
            yield zlib.decompress(data) if flags else data


def _counted(pages: Iterator[bytes]) -> Counter[str]:
    """In how many pages the marker is, by where it was put; a page that has it has it many times."""
    counts: Counter[str] = Counter()
    wanted = re.compile(MARKER + b"-(" + "|".join(KINDS).encode() + b")-")
    for page in pages:
        counts["pages"] += 1
        for kind in set(wanted.findall(page)) if MARKER in page else ():
            counts[kind.decode()] += 1
    return counts
