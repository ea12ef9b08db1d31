"""A folder held open, and files in it: atomic, durable, and never anywhere else.

Every file is written under a temporary name, fsynced, renamed, and the folder fsynced. All of it goes
through one directory descriptor, opened without following a link: an unmount or a symbolic link put in
the way cannot send a write to another file system. Everything here can block on the disk; callers run it
in a thread that they can abandon.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from attrs import evolve, frozen

from kdumpd.errors import StorageError, trouble

_PREFIX: Final = ".kdumpd-"
_SUFFIX: Final = ".tmp"
_RESERVE: Final = f"{_PREFIX}reserve{_SUFFIX}"
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def is_temporary(name: str) -> bool:
    """True for a name that a file has until it is whole, such as ``.kdumpd-reboot-reason.1.tmp``."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


@frozen(kw_only=True)
class NewFile:
    """A file that is not whole yet.

    Attributes:
        fd: its descriptor, which is the caller's to close.
        name: the name that it is to have.
        temporary_name: the name that it has until then, which no other write has.
    """

    fd: int
    name: str
    temporary_name: str


@frozen(kw_only=True)
class Space:
    """The room on a file system, in bytes; free is what root may still use."""

    free_bytes: int
    total_bytes: int


@frozen(kw_only=True)
class Entry:
    """One regular file of a folder."""

    name: str
    size_bytes: int
    mtime_s: float


@frozen(kw_only=True)
class Folder:
    """A directory held open.

    Attributes:
        path: where it was found, for messages.
        fd: its descriptor, which everything goes through.
    """

    path: str
    fd: int

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a directory that must be there and must not be a symbolic link.

        Raises:
            StorageError: it is missing, a link, or no directory.
        """
        try:
            return cls(path=path, fd=os.open(path, _OPEN_FOLDER))
        except OSError as error:
            raise StorageError(f"{path} {_folder_trouble(error)}") from error

    def subfolder(self, name: str, *, mode: int = 0o700) -> Self:
        """Open a directory inside, made if it is not there yet.

        Raises:
            StorageError: a file or a link is in its place, or it cannot be made.
        """
        path = f"{self.path.rstrip('/')}/{name}"
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=self.fd)
                self.sync()
            fd = os.open(name, _OPEN_FOLDER, dir_fd=self.fd)
            os.fchmod(fd, mode)
        except OSError as error:
            raise StorageError(f"{path} {_folder_trouble(error)}") from error
        return evolve(self, path=path, fd=fd)

    def duplicate(self) -> Self:
        """The same directory, held open on its own; the two are closed independently."""
        return evolve(self, fd=fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 0))

    def close(self) -> None:
        """Let go of the directory, so that its file system can be unmounted."""
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def sync(self) -> None:
        """Make renames and removals in this folder durable."""
        os.fsync(self.fd)

    def mount_id(self) -> int | None:
        """The mount that it was opened on, as the first column of mountinfo has it; None when unknown."""
        # proc(5), /proc/pid/fdinfo. A device number would not do: btrfs shows others in stat and mountinfo.
        text = read_small(f"/proc/self/fdinfo/{self.fd}") or ""
        ids = [line.split()[1] for line in text.splitlines() if line.startswith("mnt_id:")]
        return int(ids[0]) if ids else None

    def space(self) -> Space:
        """How much room its file system has."""
        room = os.fstatvfs(self.fd)
        return Space(free_bytes=room.f_bavail * room.f_frsize, total_bytes=room.f_blocks * room.f_frsize)

    def entries(self) -> tuple[Entry, ...]:
        """The regular files in it, by name; links and folders are not among them."""
        return tuple(sorted(self._scan(), key=lambda entry: entry.name))

    def _scan(self) -> Iterator[Entry]:
        for name in os.listdir(self.fd):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Entry(name=name, size_bytes=status.st_size, mtime_s=status.st_mtime)

    def read(self, name: str, *, limit: int) -> bytes:
        """The content of a file, at most ``limit`` bytes of it; a link is not followed.

        Raises:
            OSError: as the file system says.
        """
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return os.pread(fd, limit, 0)
        finally:
            os.close(fd)

    def create(self, name: str, *, mode: int) -> NewFile:
        """Open a new file under a temporary name of its own; ``publish`` gives it its name."""
        for number in itertools.count(1):
            temporary_name = f"{_PREFIX}{name}.{number}{_SUFFIX}"
            with contextlib.suppress(FileExistsError):
                fd = os.open(temporary_name, _CREATE, 0o600, dir_fd=self.fd)
                os.fchmod(fd, mode)
                return NewFile(fd=fd, name=name, temporary_name=temporary_name)
        raise AssertionError("there is always another number")

    def sync_file(self, fd: int) -> None:
        """Make the content of a file durable."""
        os.fsync(fd)

    def publish(self, file: NewFile) -> None:
        """Give a file its final name, durably. The descriptor stays open."""
        self.sync_file(file.fd)
        try:
            self._rename(file.temporary_name, file.name)
        except IsADirectoryError:
            self._move_aside(file.name)
            self._rename(file.temporary_name, file.name)
        self.sync()

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def _move_aside(self, name: str) -> None:
        """Rename a folder that stands where a file must go; what is in it is somebody's, and stays."""
        taken = os.listdir(self.fd)
        names = (f"{name}.moved-{number}" for number in itertools.count(1))
        self._rename(name, next(aside for aside in names if aside not in taken))

    def discard(self, file: NewFile) -> None:
        """Remove a file that was not published."""
        self.remove(file.temporary_name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; a folder of that name is moved aside."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            self._move_aside(name)

    def write(self, name: str, data: bytes, *, mode: int, mtime_s: int | None = None) -> None:
        """Write a whole file: it has either its old content or all of the new one, whatever happens.

        Args:
            name: the file's name in this folder.
            data: its content.
            mode: its permission bits.
            mtime_s: its modification time, in seconds since 1970, where that says something.

        Raises:
            OSError: as the file system says; the temporary file is gone then, if it can be removed.
        """
        file = self.create(name, mode=mode)
        try:
            write_all(file.fd, data)
            if mtime_s is not None:
                os.utime(file.fd, (mtime_s, mtime_s))
            self.publish(file)
        except OSError:
            with contextlib.suppress(OSError):
                self.discard(file)
            raise
        finally:
            os.close(file.fd)

    def clear_temporaries(self) -> tuple[str, ...]:
        """Remove what an interrupted run left half-written, as far as that goes; returns the names."""
        return tuple(filter(self._try_remove, self.temporaries()))

    def temporaries(self) -> tuple[str, ...]:
        """The names of files that are not whole, or never were made so."""
        return tuple(entry.name for entry in self.entries() if is_temporary(entry.name))

    def _try_remove(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            self.remove(name)
            return True
        return False

    def reserve(self, size_bytes: int) -> None:
        """Hold room for what must be written last, until ``release``; as much of it as there is."""
        self.release()
        with contextlib.suppress(OSError):
            fd = os.open(_RESERVE, _CREATE, 0o600, dir_fd=self.fd)
            try:
                os.posix_fallocate(fd, 0, size_bytes)
            finally:
                os.close(fd)

    def release(self) -> None:
        """Give back what ``reserve`` holds."""
        self.remove(_RESERVE)

    def probe(self) -> None:
        """Prove that this folder can be written: a file is made, fsynced and removed.

        Raises:
            OSError: it cannot.
        """
        file = self.create("probe", mode=0o600)
        try:
            write_all(file.fd, b"kdumpd\n")
            self.sync_file(file.fd)
        finally:
            os.close(file.fd)
            self.discard(file)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def splice_bytes(source: int, target: int, size_bytes: int, offset: int) -> int:
    """Move up to so many bytes from a pipe to an offset in a file; returns how many, 0 at the pipe's end."""
    return os.splice(source, target, size_bytes, offset_dst=offset)


def _folder_trouble(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "is not a folder"
    if error.errno == errno.ENOENT:
        return "does not exist"
    return f"cannot be opened: {trouble(error)}"


def read_small(path: str, limit: int = 4096) -> str | None:
    """The text of a small file of /proc or /sys, stripped; None when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(limit).decode("utf-8", "replace").strip()
    except OSError:
        return None
