"""A machine's small files in /proc, /sys and /etc, under any root; what cannot be read is an `Unknown`."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from attrs import frozen

from kdumpd.errors import trouble
from kdumpd.host.folder import Space

_ABSENT: Final = "not there"
_DENIED: Final = "unknown, needs root"

_SMALL_FILE_BYTES: Final = 64 << 10


@frozen(kw_only=True)
class Unknown:
    """A fact that could not be read: its source, and why."""

    source: str
    why: str

    @property
    def absent(self) -> bool:
        """Whether the source does not exist, which can be an answer in itself."""
        return self.why == _ABSENT

    def __str__(self) -> str:
        return f"{self.source}: {self.why}"


def unknown(source: str, error: OSError) -> Unknown:
    """The Unknown for an error of the operating system."""
    known = {errno.EACCES: _DENIED, errno.EPERM: _DENIED, errno.ENOENT: _ABSENT}
    return Unknown(source=source, why=known.get(error.errno or 0) or trouble(error))


@frozen
class MachineFiles:
    """A machine's files. Nothing here raises, and nothing is written.

    Attributes:
        root: the folder that is the machine's root.
    """

    root: Path

    def path(self, path: str) -> Path:
        """The path at which a file of the machine is found."""
        return self.root / path.lstrip("/")

    def data(self, path: str, limit_bytes: int = _SMALL_FILE_BYTES) -> bytes | Unknown:
        """The first bytes of a file."""
        try:
            with self.path(path).open("rb") as file:
                return file.read(limit_bytes)
        except OSError as error:
            return unknown(path, error)

    def text(self, path: str) -> str | Unknown:
        """A small file's text, stripped."""
        data = self.data(path)
        return data if isinstance(data, Unknown) else data.decode("utf-8", "replace").strip()

    def text_or_none(self, path: str) -> str | None:
        """A small file's text, where it does not matter why there is none."""
        text = self.text(path)
        return None if isinstance(text, Unknown) else text

    def number(self, path: str) -> int | Unknown:
        """A file's content as a number."""
        text = self.text(path)
        if isinstance(text, Unknown):
            return text
        return int(text) if text.isdecimal() else Unknown(source=path, why="not a number")

    def flag(self, path: str) -> bool | Unknown:
        """Whether a file's number is not 0."""
        number = self.number(path)
        return number if isinstance(number, Unknown) else number != 0

    def names(self, path: str) -> list[str] | Unknown:
        """The names in a folder."""
        try:
            return os.listdir(self.path(path))
        except OSError as error:
            return unknown(path, error)

    def size_bytes(self, path: str) -> int | None:
        """The length of a regular file; None if it is none."""
        try:
            status = self.path(path).lstat()
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def space(self, path: str) -> Space | Unknown:
        """The room on the file system that a path is on."""
        try:
            room = os.statvfs(self.path(path))
        except OSError as error:
            return unknown(path, error)
        return Space(free_bytes=room.f_bavail * room.f_frsize, total_bytes=room.f_blocks * room.f_frsize)
