"""Files in memory, made once and filled anew for each case."""

import functools
import os


@functools.cache
def memory_file(name: str) -> int:
    """An empty file that has no name on any disk; the same one each time."""
    return os.memfd_create(name, os.MFD_CLOEXEC)


def fill(name: str, content: bytes) -> int:
    """Give the file of this name this content and nothing else."""
    fd = memory_file(name)
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)
    return fd


def content_of(fd: int) -> bytes:
    """All that a file in memory has."""
    return os.pread(fd, os.fstat(fd).st_size, 0)
