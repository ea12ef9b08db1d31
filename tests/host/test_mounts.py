"""The mount table: its format, and which mount of a stack a path leads to."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.errors import FormatError, StorageError
from kdumpd.host.mountevents import watch_mounts
from kdumpd.host.mounts import Mount, MountTableError, find_mount, parse_mountinfo, read_mounts

ROOT = b"47 46 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"


def parse_one(line: bytes) -> Mount:
    (mount,) = parse_mountinfo(line + b"\n")
    return mount


def mount(mount_id: int, parent_id: int, mountpoint: str) -> Mount:
    return Mount(
        mount_id=mount_id,
        parent_id=parent_id,
        device="0:1",
        root="/",
        mountpoint=mountpoint,
        options=frozenset({"rw"}),
        filesystem="tmpfs",
        source="none",
        super_options=frozenset({"rw"}),
    )


def found_id(table: Iterable[Mount], mountpoint: str) -> int | None:
    found = find_mount(tuple(table), mountpoint)
    return None if found is None else found.mount_id


def test_every_field_is_read() -> None:
    line = b"36 47 253:1 /sub /persist rw,noatime,dirsync master:1 - ext4 /dev/vdb1 rw,errors=remount-ro"
    assert parse_one(line) == Mount(
        mount_id=36,
        parent_id=47,
        device="253:1",
        root="/sub",
        mountpoint="/persist",
        options=frozenset({"rw", "noatime", "dirsync"}),
        filesystem="ext4",
        source="/dev/vdb1",
        super_options=frozenset({"rw", "errors=remount-ro"}),
    )


@pytest.mark.parametrize(
    "optional",
    [
        b"",
        b" shared:7",
        b" master:3",
        b" shared:7 master:3 propagate_from:2",
        b" unbindable",
        b" -x of:tomorrow",
    ],
)
def test_optional_fields_are_any_number(optional: bytes) -> None:
    found = parse_one(b"83 71 0:50 / /mnt/u rw,relatime" + optional + b" - tmpfs u rw,size=4k")
    assert (found.filesystem, found.source) == ("tmpfs", "u")
    assert found.super_options == {"rw", "size=4k"}


def test_zfs_has_a_pool_for_a_source() -> None:
    found = parse_one(
        b"52 47 0:45 / /persist rw,relatime shared:9 - zfs persist rw,xattr,posixacl,casesensitive"
    )
    assert (found.filesystem, found.source, found.device) == ("zfs", "persist", "0:45")


def test_overlay_keeps_its_escaped_commas_and_colons() -> None:
    found = parse_one(
        rb"81 71 0:47 / /m2 rw - overlay overlay ro,lowerdir=/mnt/l\134\054o\134:w:/mnt/lowl,redirect_dir=on"
    )
    assert found.super_options == {"ro", r"lowerdir=/mnt/l\,o\:w:/mnt/lowl", "redirect_dir=on"}


def test_bind_mount_of_a_namespace_has_a_root_that_is_no_path() -> None:
    assert parse_one(b"82 71 0:4 net:[4026531833] /mnt/nsf rw - nsfs nsfs rw").root == "net:[4026531833]"


def test_an_empty_source_is_an_empty_field() -> None:
    found = parse_one(b"71 47 0:41 / /mnt rw,relatime - tmpfs  rw")
    assert found.source == ""
    assert found.super_options == {"rw"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"/mnt/a\040b", "/mnt/a b"),
        (rb"/mnt/tab\011nl\012end", "/mnt/tab\tnl\nend"),
        (rb"/mnt/back\134slash", "/mnt/back\\slash"),
        (rb"/mnt/\134040", r"/mnt/\040"),
        (rb"/mnt/\377", "/mnt/\udcff"),
        (rb"/mnt/lone\9\4", r"/mnt/lone\9\4"),
        ("/mnt/ü".encode(), "/mnt/ü"),
    ],
)
def test_escapes_in_a_path(written: bytes, meant: str) -> None:
    assert parse_one(b"72 71 0:42 / " + written + b" rw - tmpfs none rw").mountpoint == meant


def test_escapes_in_a_source() -> None:
    assert parse_one(rb"72 71 0:42 / /a rw - tmpfs \043src rw").source == "#src"


@pytest.mark.parametrize(
    ("options", "super_options", "read_only"),
    [
        (b"rw,relatime", b"rw", False),
        (b"ro,relatime", b"rw", True),
        (b"rw", b"ro,data=ordered", True),
        (b"rw", b"rw,errors=remount-ro,root=ro", False),
    ],
)
def test_read_only_by_either_set_of_options(options: bytes, super_options: bytes, read_only: bool) -> None:
    found = parse_one(b"36 47 253:1 / /persist " + options + b" - ext4 /dev/vdb1 " + super_options)
    assert found.read_only is read_only


def test_empty_table() -> None:
    assert parse_mountinfo(b"") == ()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (ROOT + b"\n", "line 2 is not a mount"),
        (ROOT + b"36 47 253:1 / /persist rw - ext4 /dev/vdb1 rw", "line 2 is cut short"),
        (b"36 47 253:1 / /persist rw ext4 /dev/vdb1 rw\n", "line 1 is not a mount"),
        (b"36 47 253:1 / /persist rw - ext4 /dev/vdb1\n", "line 1 is not a mount"),
        (b"x6 47 253:1 / /persist rw - ext4 /dev/vdb1 rw\n", "line 1 is not a mount"),
        (b"36 47 253 / /persist rw - ext4 /dev/vdb1 rw\n", "line 1 is not a mount"),
        (b"36 47 253:1 / persist rw - ext4 /dev/vdb1 rw\n", "line 1 is not a mount"),
        (b"36  47 253:1 / /persist rw - ext4 /dev/vdb1 rw\n", "line 1 is not a mount"),
        (b"9" * 5000 + b" 47 253:1 / /persist rw - ext4 /dev/vdb1 rw\n", "line 1 is not a mount"),
        (b"/dev/vda / ext4 rw,discard 0 0\n", "line 1 is not a mount"),
    ],
)
def test_anything_else_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        parse_mountinfo(data)


def test_the_lines_that_can_be_read_come_with_the_refusal() -> None:
    persist = b"36 47 253:1 / /persist rw - ext4 /dev/vdb1 rw\n"
    with pytest.raises(MountTableError, match="line 2 is not a mount") as refused:
        parse_mountinfo(ROOT + b"of a kernel to come\n" + persist + b"36 47 253:1 / /cut")
    assert refused.value.others == parse_mountinfo(ROOT + persist)


# Whole random bytes hardly ever get past the first field; these are lines with some fields put wrong.
token = st.binary(max_size=12) | st.sampled_from(
    [b"-", b"36", b"0:1", b"/", b"/persist", b"rw,ro", rb"\040", rb"\4", b"", b"9" * 11]
)
almost = st.lists(st.lists(token, max_size=12).map(b" ".join), max_size=4).map(b"\n".join)


@given(st.binary() | almost | almost.map(lambda data: ROOT + data + b"\n"))
def test_any_bytes_raise_nothing_but_format_error(data: bytes) -> None:
    with suppress(FormatError):
        find_mount(parse_mountinfo(data), "/persist")


def test_nothing_mounted_there() -> None:
    assert found_id([mount(47, 46, "/"), mount(2, 47, "/proc")], "/persist") is None
    assert found_id([], "/persist") is None


def test_a_place_below_or_above_a_mount_is_none() -> None:
    table = [mount(47, 46, "/"), mount(2, 47, "/persist")]
    assert found_id(table, "/persist/kcrashes") is None
    assert found_id(table, "/per") is None


def test_the_same_path_written_otherwise() -> None:
    assert found_id([mount(47, 46, "/"), mount(2, 47, "/persist")], "//persist/") == 2


@pytest.mark.parametrize("order", [1, -1])
def test_of_stacked_mounts_the_last_on_top(order: int) -> None:
    table = [mount(47, 46, "/"), mount(2, 47, "/persist"), mount(3, 2, "/persist"), mount(4, 3, "/persist")]
    assert found_id(table[::order], "/persist") == 4


def test_a_mount_in_a_mount() -> None:
    table = [mount(47, 46, "/"), mount(2, 47, "/a"), mount(3, 2, "/a/b/persist")]
    assert found_id(table, "/a/b/persist") == 3


def test_a_mount_whose_parent_directory_was_mounted_over_is_hidden() -> None:
    table = [mount(47, 46, "/"), mount(2, 47, "/a"), mount(3, 2, "/a/persist"), mount(4, 2, "/a")]
    assert found_id(table, "/a/persist") is None
    assert found_id([*table, mount(5, 4, "/a/persist")], "/a/persist") == 5


def test_nothing_covers_the_root() -> None:
    table = [mount(43, 42, "/"), mount(44, 43, "/persist"), mount(63, 43, "/")]
    assert found_id(table, "/") == 43
    assert found_id(table, "/persist") == 44


def test_rootfs_is_its_own_parent() -> None:
    assert found_id([mount(1, 1, "/"), mount(2, 1, "/persist")], "/persist") == 2


def test_after_a_chroot_into_a_plain_directory_there_is_no_root_mount() -> None:
    table = [mount(60, 47, "/proc"), mount(61, 47, "/persist"), mount(62, 61, "/persist")]
    assert found_id(table, "/persist") == 62
    assert found_id(table, "/") is None


def test_mounts_that_are_each_others_parents_do_not_hold_us() -> None:
    table = [mount(47, 46, "/"), mount(2, 47, "/p"), mount(3, 2, "/p"), mount(2, 3, "/p")]
    assert found_id(table, "/p") == 2


def test_our_own_table_can_be_read() -> None:
    assert find_mount(read_mounts(), "/") is not None


def test_a_table_that_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="mountinfo cannot be read: No such file or directory"):
        read_mounts(str(tmp_path / "mountinfo"))


@pytest.mark.parametrize("exists", [True, False])
async def test_a_table_that_cannot_be_watched_is_a_storage_error(tmp_path: Path, exists: bool) -> None:
    table = tmp_path / "mountinfo"
    if exists:
        table.write_bytes(ROOT)
    with pytest.raises(StorageError, match=r"mountinfo cannot be watched: \w"), trio.fail_after(5):
        await watch_mounts(lambda: None, path=str(table))
