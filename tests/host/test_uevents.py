"""Device events: the kernel's message, and the partition with a label, from a made-up sysfs."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.errors import FormatError
from kdumpd.host.uevents import Partition, find_partition, parse_uevent

# As Linux 6.18 sent it for a loop device.
CHANGE = (
    b"change@/devices/virtual/block/loop3\0ACTION=change\0DEVPATH=/devices/virtual/block/loop3\0"
    b"SUBSYSTEM=block\0SYNTH_UUID=0\0MAJOR=7\0MINOR=3\0DEVNAME=loop3\0DEVTYPE=disk\0DISKSEQ=42\0SEQNUM=1234\0"
)


def add_device(sysfs: Path, name: str, uevent: bytes) -> None:
    folder = sysfs / "class/block" / name
    folder.mkdir(parents=True)
    (folder / "uevent").write_bytes(uevent)


def test_message_of_the_kernel() -> None:
    properties = parse_uevent(CHANGE)
    assert properties["ACTION"] == "change"
    assert properties["SUBSYSTEM"] == "block"
    assert properties["DEVNAME"] == "loop3"
    assert len(properties) == 10


def test_a_value_may_hold_an_equals_sign_or_nothing() -> None:
    properties = parse_uevent(b"add@/d\0ACTION=add\0PARTNAME=a=b\0DRIVER=\0junk\0")
    assert properties == {"ACTION": "add", "PARTNAME": "a=b", "DRIVER": ""}


@pytest.mark.parametrize("message", [b"", b"\0", b"libudev\0\xfe\xed\xca\xfe", b"@/d\0A=b\0", b"add@d\0"])
def test_another_message_is_refused(message: bytes) -> None:
    with pytest.raises(FormatError, match="device event: no ACTION@DEVPATH in front"):
        parse_uevent(message)


@given(st.binary() | st.lists(st.binary()).map(lambda parts: b"add@/devices\0" + b"\0".join(parts)))
def test_any_bytes_raise_nothing_but_format_error(message: bytes) -> None:
    with suppress(FormatError):
        parse_uevent(message)


def test_the_partition_with_the_label(tmp_path: Path) -> None:
    add_device(tmp_path, "vdb", b"MAJOR=253\nMINOR=16\nDEVNAME=vdb\nDEVTYPE=disk\n")
    add_device(tmp_path, "vdb1", b"MAJOR=253\nDEVNAME=vdb1\nDEVTYPE=partition\nPARTN=1\nPARTNAME=IMGA\n")
    add_device(tmp_path, "vdb2", b"MAJOR=253\nDEVNAME=vdb2\nDEVTYPE=partition\nPARTN=2\nPARTNAME=P3\n")
    assert find_partition("P3", sysfs=tmp_path) == Partition(device="/dev/vdb2", label="P3")
    assert find_partition("P", sysfs=tmp_path) is None
    assert find_partition("", sysfs=tmp_path) is None


def test_a_node_in_a_folder_of_dev(tmp_path: Path) -> None:
    add_device(tmp_path, "cciss!c0d0p9", b"DEVNAME=cciss/c0d0p9\nPARTNAME=P3\n")
    assert find_partition("P3", sysfs=tmp_path) == Partition(device="/dev/cciss/c0d0p9", label="P3")


def test_of_two_partitions_with_the_label_the_first_by_name(tmp_path: Path) -> None:
    for name in ("vdc1", "vda3", "vdb2"):
        add_device(tmp_path, name, f"DEVNAME={name}\nPARTNAME=P3\n".encode())
    assert find_partition("P3", sysfs=tmp_path) == Partition(device="/dev/vda3", label="P3")


def test_a_device_that_goes_while_we_look_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "class/block/vda1/uevent").mkdir(parents=True)  # reading it fails, as of a device gone
    add_device(tmp_path, "vdb1", b"DEVNAME=vdb1\nPARTNAME=P3\n")
    assert find_partition("P3", sysfs=tmp_path) == Partition(device="/dev/vdb1", label="P3")


def test_without_sysfs_there_is_no_partition(tmp_path: Path) -> None:
    assert find_partition("P3", sysfs=tmp_path / "absent") is None


NO_FILE_LEFT = """
import resource, trio, trio.testing
from kdumpd.host.uevents import watch_devices

async def main():
    ticks = []
    async with trio.open_nursery() as nursery:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        print(await nursery.start(lambda task_status: watch_devices(ticks.append, task_status=task_status)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

trio.run(main)
"""


def test_without_any_source_the_watch_says_so_and_sleeps() -> None:
    assert run(NO_FILE_LEFT) == "none\n"


def test_importing_the_module_does_not_load_pyudev() -> None:
    assert run("import sys, kdumpd.host.uevents; print('pyudev' in sys.modules)") == "False\n"


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
