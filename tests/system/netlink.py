"""Sockets for device events, as the kernel tells of them."""

import os
from contextlib import suppress
from pathlib import Path

import attrs

_KOBJECT_UEVENT = "15"


@attrs.frozen(kw_only=True)
class Socket:
    """One of a process's: the bytes that wait in it, and how many messages it has lost."""

    waiting_bytes: int
    lost: int


def uevent_sockets(process: int | str = "self") -> dict[int, Socket]:
    """The sockets for device events that a process has open, by inode."""
    own = Path("/proc", str(process))
    inodes = set()
    for fd in os.listdir(own / "fd"):
        with suppress(FileNotFoundError):  # the descriptor that lists them
            inodes.add((own / "fd" / fd).stat().st_ino)
    rows = [line.split() for line in (own / "net/netlink").read_text().splitlines()[1:]]
    return {
        int(row[9]): Socket(waiting_bytes=int(row[4]), lost=int(row[8]))
        for row in rows
        if row[1] == _KOBJECT_UEVENT and int(row[9]) in inodes
    }
