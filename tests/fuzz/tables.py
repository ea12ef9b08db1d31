"""Targets: what the kernel and makedumpfile say in lines."""

import os

from tests.fuzz.target import Target, is_safe, refusal

from kdumpd.dump import makedumpfile
from kdumpd.errors import DumpError, FormatError
from kdumpd.host import mounts, uevents


def _mountinfo(case: bytes) -> None:
    with refusal(FormatError):
        table = mounts.parse_mountinfo(case)
        for mount in table:
            assert mount.mountpoint.startswith("/")
            assert isinstance(mount.read_only, bool)
            found = mounts.find_mount(table, mount.mountpoint)
            assert found is None or _names(found.mountpoint) == _names(mount.mountpoint)


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _uevent(case: bytes) -> None:
    properties = {}
    with refusal(FormatError):
        properties = uevents.parse_uevent(case)
    assert all("=" not in key and "\0" not in key + value for key, value in properties.items())
    back = b"\0".join(os.fsencode(f"{key}={value}") for key, value in properties.items())
    assert uevents.parse_uevent(b"add@/\0" + back) == properties


def _makedumpfile(case: bytes) -> None:
    with refusal(DumpError):
        capabilities = makedumpfile.parse_version(case)
        assert is_safe(capabilities.version)
        assert capabilities.compressions <= {"zlib", "lzo", "zstd", "none"}
    percent = makedumpfile.parse_progress(case)
    assert percent is None or 0 <= percent <= 100
    phase = makedumpfile.parse_phase(case)
    assert phase is None or (phase in case and len(phase) < 80 and is_safe(phase.decode()))
    report = makedumpfile.parse_report(case)
    if report is not None:
        assert min(report.total_pages, report.free_pages, report.written_bytes) >= 0
        assert makedumpfile.unfiltered(report, 0) is None
        assert (makedumpfile.unfiltered(report, 31) is None) <= (report.free_pages > 0)


_ROOT = b"22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"
_MOUNTS = (
    _ROOT,
    _ROOT + b"25 22 259:3 / /persist rw,noatime,dirsync - ext4 /dev/vda3 rw\n",
    _ROOT
    + b"26 22 0:50 / /persist rw - tmpfs  rw\n"
    + b"27 26 0:51 /a /persist ro master:1 unbindable - zfs persist rw\n",
    _ROOT + rb"30 22 0:52 / /with\040blank rw - overlay o rw,lowerdir=/a\054b:/c" + b"\n",
    b"1 1 0:1 / / rw - rootfs rootfs rw\n1 1 0:1 / // rw - a b c\n",
)
_MOUNT_WORDS = (
    b" - ",
    b" / ",
    b" /persist ",
    b"\\040",
    b"\\377",
    b"\\134",
    b"shared:1 ",
    b"253:1",
    b"\n",
    *_MOUNTS[:1],
)

_UEVENT = (
    b"add@/devices/pci0000:00/virtio0/block/vda/vda3\0ACTION=add\0DEVPATH=/devices/vda3\0SUBSYSTEM=block\0"
    b"MAJOR=253\0MINOR=3\0DEVNAME=vda3\0DEVTYPE=partition\0PARTN=3\0PARTNAME=P3\0SEQNUM=1234\0"
)

_VERSION = (
    b"makedumpfile: version 1.7.2 (released on 7 Nov 2022)\nlzo\tenabled\nsnappy\tdisabled\nzstd\tenabled\n"
)
_PROGRESS = b"\rCopying data                                      : [ 45.1 %] |           eta: 3s\r"
_REPORT = (
    b"Original pages  : 0x000000000003b5f4\n  Excluded pages   : 0x0000000000033f10\n"
    b"    Pages filled with zero  : 0x0000000000001a2b\n    Non-private cache pages : 0x00000000000021f3\n"
    b"    Private cache pages     : 0x0000000000000007\n    User process data pages : 0x0000000000000c1e\n"
    b"    Free pages              : 0x000000000002f1d7\n    Hwpoison pages          : 0x0000000000000000\n"
    b"    Offline pages           : 0x0000000000000000\n  Remaining pages  : 0x00000000000076e4\n"
    b"  (The number of pages is reduced to 12%.)\nMemory Hole     : 0x00000000000049dc\n"
    b"--------------------------------------------------\nTotal pages     : 0x000000000003ffd0\n"
    b"Write bytes     : 49123456\n"
)
_MESSAGE_WORDS = (
    b"version 1.7",
    b"lzo\tenabled",
    b"zstd\tenabled",
    b"Copying data : [",
    b"100.0 %]",
    b"999.9",
    *(b"\n" + line for line in _REPORT.splitlines()),
)

MOUNTINFO = Target(
    run=_mountinfo, seeds=lambda: [*_MOUNTS, b"".join(_MOUNTS)], words=_MOUNT_WORDS, max_bytes=1024
)
UEVENT = Target(
    run=_uevent,
    seeds=lambda: [_UEVENT, b"libudev\0\xfe\xed\xca\xfe", b"remove@/a\0A=b"],
    words=(b"add@/", b"\0SUBSYSTEM=block", b"\0", b"=", b"@"),
    max_bytes=512,
)
MAKEDUMPFILE = Target(
    run=_makedumpfile,
    seeds=lambda: [_VERSION, _PROGRESS * 3, _REPORT, _VERSION + _PROGRESS + _REPORT],
    words=_MESSAGE_WORDS,
    max_bytes=2048,
)
