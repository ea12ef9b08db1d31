"""The mount table: read, parsed and searched.

The format is that of ``/proc/[pid]/mountinfo``, proc(5); the kernel writes it in fs/proc_namespace.c,
``show_mountinfo()``.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from kdumpd.errors import FormatError, StorageError

MOUNTINFO = "/proc/self/mountinfo"

# Fields are separated by exactly one space: a mount made with an empty source leaves an empty field.
# The optional fields (shared:N, master:N, ...) are any number, ended by a lone hyphen.
_LINE = re.compile(
    rb"(?P<mount_id>\d{1,10}) (?P<parent_id>\d{1,10}) (?P<device>\d{1,10}:\d{1,10})"
    rb" (?P<root>[^ ]+) (?P<mountpoint>/[^ ]*) (?P<options>[^ ]+)(?: (?!- )[^ ]+)* -"
    rb" (?P<filesystem>[^ ]+) (?P<source>[^ ]*) (?P<super_options>.*)",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


@frozen(kw_only=True)
class Mount:
    """One mount. Paths are as the process sees them whose table it is."""

    mount_id: int
    parent_id: int
    device: str
    """``major:minor`` in decimal, ``253:1``."""
    root: str
    """The part of the file system that is mounted; other than ``/`` for a bind mount or subvolume."""
    mountpoint: str
    options: frozenset[str]
    """Options of this mount alone."""
    filesystem: str
    source: str
    super_options: frozenset[str]
    """Options of the file system, which all its mounts share."""

    @property
    def read_only(self) -> bool:
        """Whether this mount or the file system under it is read-only."""
        return "ro" in self.options or "ro" in self.super_options


class MountTableError(FormatError):
    """A line of a mount table cannot be read; the text is of the first one.

    Attributes:
        others: the mounts of all other lines.
    """

    def __init__(self, text: str, others: tuple[Mount, ...]) -> None:
        super().__init__(text)
        self.others = others


def parse_mountinfo(data: bytes) -> tuple[Mount, ...]:
    """Read a whole mount table, in its order.

    Raises:
        MountTableError: a line is not as proc(5) says, or the last one is cut short.
    """
    *lines, rest = data.split(b"\n")
    parsed = [_parse_line(line) for line in lines]
    mounts = tuple(mount for mount in parsed if mount)
    if None in parsed:
        raise MountTableError(f"mount table: line {parsed.index(None) + 1} is not a mount", mounts)
    if rest:
        raise MountTableError(f"mount table: line {len(lines) + 1} is cut short", mounts)
    return mounts


def _parse_line(line: bytes) -> Mount | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    return Mount(
        mount_id=int(match["mount_id"]),
        parent_id=int(match["parent_id"]),
        device=match["device"].decode("ascii"),
        root=_unescape(match["root"]),
        mountpoint=_unescape(match["mountpoint"]),
        options=_options(match["options"]),
        filesystem=_unescape(match["filesystem"]),
        source=_unescape(match["source"]),
        super_options=_options(match["super_options"]),
    )


def _options(field: bytes) -> frozenset[str]:
    # Split first: a comma inside an option (overlay's lowerdir) is itself escaped.
    return frozenset(_unescape(option) for option in field.split(b","))


def _unescape(field: bytes) -> str:
    # A backslash that starts no octal escape stays: some file systems write their options unescaped.
    return os.fsdecode(_ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), field))


def find_mount(table: Sequence[Mount], mountpoint: str) -> Mount | None:
    """Find the mount that a lookup of this path arrives in, if something is mounted exactly there.

    Of several stacked mounts that is the last on top. A mount below a directory that was mounted over
    later is hidden and not found. Nothing covers ``/``: a lookup starts in the root mount itself and does
    not climb onto what was mounted over it (fs/namei.c, ``nd_jump_root()``). Links are not followed.
    """
    names = [name for name in mountpoint.split("/") if name]
    by_place = {(mount.parent_id, mount.mountpoint): mount for mount in table}
    found, mount_id = _root(table)
    for length in range(1, len(names) + 1):
        place = "/" + "/".join(names[:length])
        found = None
        # pop, not get: a table in which mounts are each other's parents must not hold us for ever.
        while mount := by_place.pop((mount_id, place), None):
            found, mount_id = mount, mount.mount_id
    return found


def _root(table: Sequence[Mount]) -> tuple[Mount | None, int]:
    """The mount at ``/`` and its id; after a chroot into a plain directory only the id is known."""
    listed = {mount.mount_id for mount in table}
    tops = [mount for mount in table if mount.parent_id not in listed or mount.parent_id == mount.mount_id]
    for mount in tops:
        if mount.mountpoint == "/":
            return mount, mount.mount_id
    return None, tops[0].parent_id if tops else 0


def read_mounts(path: str = MOUNTINFO) -> tuple[Mount, ...]:
    """Read the mount table as it is now.

    Raises:
        StorageError: the file cannot be read.
        MountTableError: a line of it cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    return parse_mountinfo(data)
