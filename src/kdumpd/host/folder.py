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
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def temporary_name(name: str) -> str:
    """The name that a file has until it is whole."""
    return f"{_PREFIX}{name}{_SUFFIX}"


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

    def create(self, name: str, *, mode: int) -> int:
        """Open a new file under the temporary name of ``name``; a left-over of that name goes first.

        Returns:
            The file descriptor, which is the caller's to close.
        """
        self.discard(name)
        fd = os.open(temporary_name(name), _CREATE, 0o600, dir_fd=self.fd)
        os.fchmod(fd, mode)
        return fd

    def sync_file(self, fd: int) -> None:
        """Make the content of a file durable."""
        os.fsync(fd)

    def publish(self, fd: int, name: str) -> None:
        """Give the file that ``create`` opened its final name, durably. The descriptor stays open."""
        self.sync_file(fd)
        try:
            self._rename(temporary_name(name), name)
        except IsADirectoryError:
            self._move_aside(name)
            self._rename(temporary_name(name), name)
        self.sync()

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def _move_aside(self, name: str) -> None:
        """Rename a folder that stands where a file must go; what is in it is somebody's, and stays."""
        taken = os.listdir(self.fd)
        names = (f"{name}.moved-{number}" for number in itertools.count(1))
        self._rename(name, next(aside for aside in names if aside not in taken))

    def discard(self, name: str) -> None:
        """Remove what ``create`` made for this name, if it is there."""
        self.remove(temporary_name(name))

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
        fd = self.create(name, mode=mode)
        try:
            write_all(fd, data)
            if mtime_s is not None:
                os.utime(fd, (mtime_s, mtime_s))
            self.publish(fd, name)
        except OSError:
            with contextlib.suppress(OSError):
                self.discard(name)
            raise
        finally:
            os.close(fd)

    def clear_temporaries(self) -> tuple[str, ...]:
        """Remove what an interrupted run left half-written; returns the names."""
        left = tuple(
            entry.name
            for entry in self.entries()
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX)
        )
        for name in left:
            self.remove(name)
        return left

    def reserve(self, size_bytes: int) -> None:
        """Hold room for what must be written last, until ``release``; as much of it as there is."""
        with contextlib.suppress(OSError):
            fd = self.create("reserve", mode=0o600)
            try:
                os.posix_fallocate(fd, 0, size_bytes)
            finally:
                os.close(fd)

    def release(self) -> None:
        """Give back what ``reserve`` holds."""
        self.discard("reserve")

    def probe(self) -> None:
        """Prove that this folder can be written: a file is made, fsynced and removed.

        Raises:
            OSError: it cannot.
        """
        fd = self.create("probe", mode=0o600)
        try:
            write_all(fd, b"kdumpd\n")
            self.sync_file(fd)
        finally:
            os.close(fd)
            self.discard("probe")


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def splice_bytes(source: int, target: int, size_bytes: int, offset: int) -> int:
    """Move up to so many bytes from a pipe to an offset in a file; returns how many, 0 at the pipe's end."""
    return os.splice(source, target, size_bytes, offset_dst=offset)


@frozen(kw_only=True)
class Reasons:
    """What the next boot is told.

    Attributes:
        stack: the content of ``reboot-stack``; None leaves the file as it is.
        line: the content of ``reboot-reason``, without its newline.
        crash_time_s: the modification time of ``boot-reason``, which EVE takes for the last reboot's time.
    """

    stack: bytes | None
    line: str
    crash_time_s: int | None


BOOT_REASON: Final = b"BootReasonKernel\n"

# EVE's reader returns an empty string for a longer reboot-reason (pkg/pillar, agentlog).
REASON_BYTES: Final = 16384
STACK_BYTES: Final = 524288


def commit_reasons(folder: Folder, reasons: Reasons) -> None:
    """Write the reason files, stack first and reboot-reason last.

    EVE acts on a reboot-reason that is not empty: where it is present, the others are there too. One of
    an earlier panic is removed before anything else, so that it never stands beside a newer stack.

    Raises:
        OSError: as the file system says.
    """
    line = reasons.line.encode()[: REASON_BYTES - 1] + b"\n"
    if reasons.stack is not None:
        folder.remove("reboot-reason")
        folder.sync()
        folder.write("reboot-stack", reasons.stack, mode=0o644)
        folder.write("boot-reason", BOOT_REASON, mode=0o644, mtime_s=reasons.crash_time_s)
    folder.write("reboot-reason", line, mode=0o644)


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
