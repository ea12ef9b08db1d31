"""A file seen through FUSE that fails where a test says so: a disk or a vmcore with real I/O errors.

It needs neither libfuse nor device mapper: the kernel's protocol (include/uapi/linux/fuse.h) has few
requests for a file system whose root is one regular file.
"""

import errno
import os
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_READ_WRITE = struct.Struct("<QQI20x")
_ATTR = struct.Struct("<QII6Q10I")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
_GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _RELEASE, _FSYNC, _FLUSH, _INIT = 3, 4, 14, 15, 16, 18, 20, 25, 26
_NO_REPLY = (36, 2)  # INTERRUPT, FORGET
# FUSE_ASYNC_READ, FUSE_BIG_WRITES
_FLAGS = 1 | 1 << 5
_MAX_BYTES = 128 << 10


class FaultyFile:
    """A file with the content of another one, and faults.

    Args:
        source: the file behind it; written through only where it is opened so.
        path: where the faulty one appears; a file made for it.
        writable: whether writes go through to the source.

    Attributes:
        size_bytes: what it pretends to have.
        unreadable: bytes of it that give EIO.
        stuck: bytes of it that are never answered; not even SIGKILL ends who reads them.
        patches: bytes that are there instead, by offset.
        dead: every read and write gives EIO.
        read_only: every write gives EIO.
        lose_write_bytes: the next write of at least so many bytes gives EIO, and no other one; 0 is none.
        asked: where reads began, of which nothing is in the page cache.
        speaking: while it is not set nothing is answered, and after that all of it.
    """

    def __init__(self, source: Path, path: Path, *, writable: bool = False) -> None:
        self.path = path
        self.unreadable = range(0)
        self.stuck = range(0)
        self.patches: dict[int, bytes] = {}
        self.dead = False
        self.read_only = False
        self.lose_write_bytes = 0
        self.asked: list[int] = []
        self.speaking = threading.Event()
        self.speaking.set()
        self._source = os.open(source, os.O_RDWR if writable else os.O_RDONLY)
        self.size_bytes = os.fstat(self._source).st_size
        self._answers: dict[int, Callable[[bytes], bytes]] = {
            _INIT: self._init,
            _GETATTR: self._attributes,
            _SETATTR: self._attributes,
            _OPEN: lambda _: bytes(16),
            _READ: self._read,
            _WRITE: self._write,
            _RELEASE: lambda _: b"",
            _FLUSH: lambda _: b"",
            _FSYNC: self._fsync,
        }
        path.touch()
        self._fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._fuse},rootmode={stat.S_IFREG:o},user_id=0,group_id=0,allow_other"
        subprocess.run(
            ["mount", "-i", "-t", "fuse", "-o", options, "faulty", str(path)],
            check=True,
            pass_fds=[self._fuse],
        )
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def remove(self) -> None:
        """Take it away; whoever hangs on it gets an error."""
        self.speaking.set()
        if self._thread.is_alive():
            subprocess.run(["umount", "--lazy", "--force", str(self.path)], check=True)
            self._thread.join(5)
            os.close(self._fuse)
            os.close(self._source)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._fuse, _MAX_BYTES + 4096)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.ECONNABORTED, errno.EBADF):
                    return
                continue
            self.speaking.wait()
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        _, operation, unique, *_ = _IN.unpack_from(request)
        body = request[_IN.size :]
        if operation in _NO_REPLY or (operation == _READ and self._hits(body, self.stuck)):
            return
        try:
            answer, code = self._answers[operation](body), 0
        except KeyError:
            answer, code = b"", errno.ENOSYS
        except OSError as error:
            answer, code = b"", error.errno or errno.EIO
        try:
            os.write(self._fuse, _OUT.pack(_OUT.size + len(answer), -code, unique) + answer)
        except OSError:  # who asked is gone
            return

    def _init(self, _: bytes) -> bytes:
        return _INIT_OUT.pack(7, 31, _MAX_BYTES, _FLAGS, 64, 48, _MAX_BYTES, 1, 32, 0, 0)

    def _attributes(self, _: bytes) -> bytes:
        mode = stat.S_IFREG | 0o600
        blocks = -(-self.size_bytes // 512)
        return _ATTR.pack(0, 0, 0, 1, self.size_bytes, blocks, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _hits(self, body: bytes, wanted: range) -> bool:
        _, offset, size = _READ_WRITE.unpack_from(body)
        return bool(wanted) and offset < wanted.stop and wanted.start < offset + size

    def _read(self, body: bytes) -> bytes:
        _, offset, size = _READ_WRITE.unpack_from(body)
        self.asked.append(offset)
        if self.dead or self._hits(body, self.unreadable):
            raise OSError(errno.EIO, "unreadable")
        size = max(0, min(size, self.size_bytes - offset))
        data = bytearray(os.pread(self._source, size, offset))
        for changed, patch in self.patches.items():
            start, stop = max(offset, changed), min(offset + len(data), changed + len(patch))
            if start < stop:
                data[start - offset : stop - offset] = patch[start - changed : stop - changed]
        return bytes(data)

    def _write(self, body: bytes) -> bytes:
        _, offset, size = _READ_WRITE.unpack_from(body)
        if self.dead or self.read_only:
            raise OSError(errno.EIO, "no writing")
        if 0 < self.lose_write_bytes <= size:
            self.lose_write_bytes = 0
            raise OSError(errno.EIO, "lost")
        written = os.pwrite(self._source, body[_READ_WRITE.size :][:size], offset)
        return struct.pack("<II", written, 0)

    def _fsync(self, _: bytes) -> bytes:
        if self.dead or self.read_only:
            raise OSError(errno.EIO, "no syncing")
        return b""
