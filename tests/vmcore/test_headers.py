"""VMCOREINFO, parsed from bytes and found in an ELF core file."""

import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import makedump

from kdumpd.errors import FormatError
from kdumpd.testing.kdumpfile import make_note
from kdumpd.vmcore.headers import parse_vmcoreinfo, read_at, read_exactly, read_vmcoreinfo

# One file is overwritten by each example on purpose.
ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)


def test_vmcoreinfo_is_read() -> None:
    info = parse_vmcoreinfo(makedump.VMCOREINFO)
    assert info.release == "6.12.49-linuxkit"
    assert info.build_id == "3b43fad5034874490492495d552c0af6a5fab235"
    assert info.crash_time_s == 1795401639
    assert info.page_bytes == 4096
    assert info.values["SYMBOL(init_uts_ns)"] == "ffffffffa33f9b60"


def test_what_vmcoreinfo_does_not_say_is_none() -> None:
    info = parse_vmcoreinfo(b"OSRELEASE=5.10\n")
    assert (info.release, info.build_id, info.crash_time_s, info.page_bytes) == ("5.10", None, None, None)


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_vmcoreinfo(b"A=b=c\n").values == {"A": "b=c"}


def test_zeros_behind_the_last_line_do_not_count() -> None:
    assert parse_vmcoreinfo(b"CRASHTIME=17\0\0\0").crash_time_s == 17


@pytest.mark.parametrize(
    "line", [b"no equals sign", b"=no key", b"ESC=\x1b[2J", b"LATIN=\xe9", b"NUL=a\0b", b"CR=a\rb"]
)
def test_a_bad_line_costs_only_itself(line: bytes) -> None:
    assert parse_vmcoreinfo(line + b"\nOSRELEASE=6.12\n").values == {"OSRELEASE": "6.12"}


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5", "1e9", "0x10", "1_0", " 7", "253402300800", "9" * 5000, "soon"]
)
def test_a_crash_time_that_is_no_date_is_none(text: str) -> None:
    assert parse_vmcoreinfo(f"CRASHTIME={text}\n".encode()).crash_time_s is None


def test_the_last_date_is_a_crash_time() -> None:
    assert parse_vmcoreinfo(b"CRASHTIME=253402300799\n").crash_time_s == 253402300799


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\n\n", b"hello\n", b"A=b\n" * 20000])
def test_what_is_no_vmcoreinfo_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_vmcoreinfo(data)


@given(st.binary(max_size=300) | st.lists(st.sampled_from([*b"CRASHTIME=0\n"])).map(bytes))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        info = parse_vmcoreinfo(data)
    except FormatError:
        return
    assert info.values
    assert all(value.isprintable() for value in info.values.values())


def read(folder: Path, data: bytes) -> str | None:
    path = folder / "vmcore"
    path.write_bytes(data)
    return read_vmcoreinfo(str(path)).release


def test_the_note_is_found(tmp_path: Path) -> None:
    assert read(tmp_path, makedump.vmcore()) == "6.12.49-linuxkit"


def test_the_note_is_found_behind_a_device_dump(tmp_path: Path) -> None:
    device = make_note(b"LINUX", 0x700, bytes(3_000_001))
    assert read(tmp_path, makedump.vmcore(before=[device])) == "6.12.49-linuxkit"


def test_the_hypervisors_note_is_another(tmp_path: Path) -> None:
    xen = make_note(b"VMCOREINFO_XEN", 0, b"OSRELEASE=xen\n")
    assert read(tmp_path, makedump.vmcore(before=[xen])) == "6.12.49-linuxkit"


def test_a_core_without_the_note_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="vmcore: no VMCOREINFO note"):
        read(tmp_path, makedump.vmcore(None))


def test_memory_that_looks_like_the_note_is_none(tmp_path: Path) -> None:
    core = makedump.vmcore(None)
    with pytest.raises(FormatError, match="no VMCOREINFO note"):
        read(tmp_path, core[:-4096] + make_note(b"VMCOREINFO", 0, makedump.VMCOREINFO).ljust(4096))


def test_the_file_is_closed(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    read(tmp_path, makedump.vmcore())
    with pytest.raises(FormatError):
        read(tmp_path, b"")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, b"\x7fBAD"), (4, b"\1"), (5, b"\2"), (54, b"\x20\0")],
    ids=["magic", "32 bits", "big-endian", "32-bit program headers"],
)
def test_another_file_is_no_core(tmp_path: Path, offset: int, value: bytes) -> None:
    core = bytearray(makedump.vmcore())
    core[offset : offset + len(value)] = value
    with pytest.raises(FormatError, match="not a little-endian ELF64 core file"):
        read(tmp_path, bytes(core))


def test_a_note_too_long_is_not_read(tmp_path: Path) -> None:
    core = bytearray(makedump.vmcore())
    struct.pack_into("<I", core, core.index(b"VMCOREINFO\0") - 8, 1 << 31)
    with pytest.raises(FormatError, match="VMCOREINFO of 2147483648 bytes is too long"):
        read(tmp_path, bytes(core))


def test_endless_notes_are_given_up(tmp_path: Path) -> None:
    """A segment of 4 GiB in a file of holes: nothing but empty notes."""
    path = tmp_path / "vmcore"
    core = bytearray(makedump.vmcore(None)[:4096])
    struct.pack_into("<Q", core, 64 + 32, 1 << 32)
    empty = struct.pack("<III", 1, 0, 0) + bytes(4)
    path.write_bytes(bytes(core) + empty * 20000)
    with pytest.raises(FormatError, match="no VMCOREINFO note"):
        read_vmcoreinfo(str(path))


@pytest.mark.parametrize("path", ["/proc/no such file", "/proc", "/proc/\0"])
def test_a_file_that_cannot_be_read_says_why(path: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_vmcoreinfo(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_a_read_ends_where_the_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    try:
        assert read_at(fd, 4, 3) == b"456"
        assert read_at(fd, 8, 100) == b"89"
        assert read_exactly(fd, 8, 2) == b"89"
        with pytest.raises(FormatError, match="the file ends before byte 11"):
            read_exactly(fd, 8, 3)
        with pytest.raises(FormatError, match="cannot read 1 bytes at 18446744073709551615"):
            read_at(fd, (1 << 64) - 1, 1)
    finally:
        os.close(fd)


@ONE_FILE
@given(data=st.binary(max_size=200))
def test_any_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FormatError):
        read(tmp_path, b"\x7fELF\x02\x01" + data)


@ONE_FILE
@given(
    changes=st.lists(st.tuples(st.integers(0, 5200), st.binary(min_size=1, max_size=9)), max_size=5),
    length=st.integers(0, 12288) | st.none(),
)
def test_any_damage_is_survived(tmp_path: Path, changes: list[tuple[int, bytes]], length: int | None) -> None:
    core = bytearray(makedump.vmcore())
    for offset, data in changes:
        core[offset : offset + len(data)] = data
    with suppress(FormatError):
        read(tmp_path, bytes(core[:length]))
