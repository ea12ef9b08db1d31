"""The stream written out against the file that makedumpfile writes itself; and a dump that was cut."""

import subprocess
from pathlib import Path

import drgn
import pytest
import trio

from kdumpd import place_stream
from kdumpd.dump.kdumpfile import check

from .crash import FaultRun

pytestmark = pytest.mark.system

OPTIONS = {"none": [], "lzo": ["-l"], "zlib": ["-c"]}


def write_directly(crash: FaultRun, compression: str) -> Path:
    """Have makedumpfile write the dump to a file by itself."""
    direct = crash.folder / "direct"
    command = ["makedumpfile", *OPTIONS[compression], "-d", "31", str(crash.recorded.vmcore), str(direct)]
    subprocess.run(command, check=True, capture_output=True)
    return direct


def vmcoreinfo(dump: Path) -> bytes:
    """VMCOREINFO as drgn gives it."""
    program = drgn.Program()
    program.set_core_dump(str(dump))
    text: bytes = program["VMCOREINFO"].string_()
    return text


@pytest.mark.parametrize("compression", OPTIONS)
def test_the_placed_file_is_the_one_that_makedumpfile_writes(crash: FaultRun, compression: str) -> None:
    crash.mount()
    crash.configure("dump", compression=compression)
    crash.configure("storage", min_free_bytes=0)
    crash.run()
    crash.assert_collected("dump")
    subprocess.run(["cmp", crash.dump, write_directly(crash, compression)], check=True)


def test_a_dump_is_written_to_disk_while_it_grows(crash: FaultRun) -> None:
    """What waits for the disk would fill a capture kernel's memory."""
    crash.mount()
    dump = crash.persist / "dump"
    command = ["makedumpfile", "-F", "-d", "31", str(crash.recorded.vmcore)]
    with (
        dump.open("w+b") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
    ):
        assert process.stdout is not None
        written_bytes = trio.run(place_stream, process.stdout.fileno(), file.fileno())
    assert written_bytes > 64 << 20
    assert cached_bytes(dump) < written_bytes // 2


def cached_bytes(file: Path) -> int:
    """How much of a file is in the page cache."""
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(file)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("percent", [90, 50, 10])
def test_a_cut_dump_is_sealed_and_opens(crash: FaultRun, percent: int) -> None:
    crash.mount()
    whole = write_directly(crash, "lzo")
    size_bytes = whole.stat().st_size * percent // 100
    crash.configure("dump", max_bytes=size_bytes)
    crash.run()
    crash.assert_collected("part", f"size budget of {size_bytes} bytes ran out")
    with crash.dump.open("rb") as file:
        found = check(file.fileno())
    assert abs(found.pages / found.expected_pages * 100 - percent) < 15
    assert vmcoreinfo(crash.dump) == vmcoreinfo(whole)
