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
    """One mount. Paths are as seen by the process whose table it is."""

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
    # A backslash that starts no octal escape is left as it is: some file systems do not escape their options.
    return os.fsdecode(_ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), field))


# Which mount does a path lead to?
# -------------------------------
#
# The mount points in the table are not unique, and the last line with the right one is not the answer. Mounts
# can be stacked on one another, and a mount can be hidden: by another one over a folder further up the path,
# made later. Hidden mounts stay in the table, under the path that they had.
#
# What decides is the walk that the kernel makes. It starts in the root mount and goes along the path by name;
# at each folder it looks whether something is mounted on this folder *of this mount*, goes on in that, and
# looks again (traverse_mounts() in fs/namei.c). The table has all that the walk needs: each mount's id, the
# id of the mount that it is mounted on (its parent), and where (proc(5), /proc/pid/mountinfo, fields 1, 2 and
# 5). So find_mount() makes the same walk with (parent id, path) as the key. Of mounts stacked on one folder,
# each is the parent of the next.
#
# Ids tell mounts apart while they are mounted, and are used again later (proc(5)). A folder that is held open
# keeps its mount alive, so its id stays true: `Folder.mount_id` reads it from /proc/self/fdinfo, and the gate
# compares it with the table's. That proves that a folder was opened *on* persist and not on the bare
# directory under it, a moment before or after the mount. Device numbers prove no such thing: several mounts
# share one, and btrfs shows another in stat(2) than in the table.


def find_mount(table: Sequence[Mount], mountpoint: str) -> Mount | None:
    """Find the mount that a lookup of this path ends in, if the path is its mount point.

    Of stacked mounts that is the topmost; a hidden mount is not found. Nothing covers ``/``: a lookup starts
    in the root mount itself and does not climb onto what was mounted over it (nd_jump_root() in fs/namei.c).
    Symbolic links are not followed.
    """
    names = [name for name in mountpoint.split("/") if name]
    by_path = {(mount.parent_id, mount.mountpoint): mount for mount in table}
    found, mount_id = _root(table)
    for length in range(1, len(names) + 1):
        path = "/" + "/".join(names[:length])
        found = None
        # pop, not get: a table in which mounts are each other's parents must not loop for ever.
        while mount := by_path.pop((mount_id, path), None):
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
