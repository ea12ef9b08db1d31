"""The ELF notes of ``/proc/vmcore``: VMCOREINFO, and with it the crash time and the kernel's release.

The kernel gives the crashed memory as an ELF64 core file (fs/proc/vmcore.c). Of it only the ELF header,
the program headers and the note headers are read here, never memory.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from attrs import frozen

from kdumpd.errors import FormatError

# ELF64, little-endian: all that EVE runs on (amd64, arm64, riscv64).
_IDENT: Final = b"\x7fELF\x02\x01"
_ELF_HEADER: Final = struct.Struct("<6s26xQ14xHH6x")  # ident, e_phoff, e_phentsize, e_phnum
_PROGRAM_HEADER: Final = struct.Struct("<I4xQ16xQ16x")  # p_type, p_offset, p_filesz
_NOTE_HEADER: Final = struct.Struct("<III")  # n_namesz, n_descsz, n_type
_PT_NOTE: Final = 4
_NAME: Final = b"VMCOREINFO\0"

# One note per CPU, and the kernel supports 8192 of those; device dumps add a few (NT_VMCOREDD).
_MAX_NOTES: Final = 16384

# The kernel keeps VMCOREINFO in one page (VMCOREINFO_BYTES), and a page has at most 64 KiB.
MAX_VMCOREINFO_BYTES: Final = 1 << 16

# The last second that a calendar date can be made of: the end of the year 9999.
_MAX_TIME_S: Final = 253402300799


@frozen(kw_only=True)
class Vmcoreinfo:
    """What the crashed kernel noted about itself.

    Attributes:
        release: kernel release (``uname -r``).
        build_id: hex digits of the kernel's build id.
        crash_time_s: seconds since the epoch at the crash.
        page_bytes: size of a page of memory.
        values: every ``KEY=VALUE`` of the note, as text.
    """

    release: str | None
    build_id: str | None
    crash_time_s: int | None
    page_bytes: int | None
    values: Mapping[str, str]


def parse_vmcoreinfo(data: bytes) -> Vmcoreinfo:
    """Read VMCOREINFO's lines ``KEY=VALUE`` (kernel: Documentation/admin-guide/kdump/vmcoreinfo.rst).

    A line that is not printable text with a ``=`` is passed over, and a number that cannot be one is
    None: one bad line must not cost the others.

    Raises:
        FormatError: it is too long, or not one line has that form.
    """
    if len(data) > MAX_VMCOREINFO_BYTES:
        raise FormatError(f"VMCOREINFO of {len(data)} bytes is too long")
    lines = data.rstrip(b"\0").decode("ascii", "replace").split("\n")
    pairs = (line.partition("=") for line in lines if line.isascii() and line.isprintable())
    values = {key: value for key, equals, value in pairs if key and equals}
    if not values:
        raise FormatError("VMCOREINFO holds no KEY=VALUE line")
    return Vmcoreinfo(
        release=values.get("OSRELEASE"),
        build_id=values.get("BUILD-ID"),
        crash_time_s=_number(values.get("CRASHTIME"), _MAX_TIME_S),
        page_bytes=_number(values.get("PAGESIZE"), 1 << 30),
        values=values,
    )


def read_vmcoreinfo(path: str) -> Vmcoreinfo:
    """Find and read the VMCOREINFO note of the ELF64 core file at `path`.

    Raises:
        FormatError: the file cannot be read, is no such core, or holds no usable VMCOREINFO.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: {_reason(error)}") from error
    try:
        return parse_vmcoreinfo(_find_note(fd))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    finally:
        os.close(fd)


def read_at(fd: int, offset: int, size_bytes: int) -> bytes:
    """Read what the file has of `size_bytes` bytes at `offset`: fewer only where the file ends.

    Raises:
        FormatError: the file cannot be read there.
    """
    data = b""
    try:
        while len(data) < size_bytes and (part := os.pread(fd, size_bytes - len(data), offset + len(data))):
            data += part
    except (OSError, OverflowError) as error:
        raise FormatError(f"cannot read {size_bytes} bytes at {offset}: {_reason(error)}") from error
    return data


def read_exactly(fd: int, offset: int, size_bytes: int) -> bytes:
    """Read `size_bytes` bytes at `offset`.

    Raises:
        FormatError: the file cannot be read there, or ends before that.
    """
    data = read_at(fd, offset, size_bytes)
    if len(data) < size_bytes:
        raise FormatError(f"the file ends before byte {offset + size_bytes}")
    return data


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _number(text: str | None, largest: int) -> int | None:
    """Decimal digits as a number; None if they are not that or too many."""
    if text is None or not text.isdecimal() or len(text) > len(str(largest)):
        return None
    return int(text) if int(text) <= largest else None


def _find_note(fd: int) -> bytes:
    notes = (note for offset, end in _note_segments(fd) for note in _notes(fd, offset, end))
    for name, start, size_bytes in islice(notes, _MAX_NOTES):
        if name == _NAME:
            if size_bytes > MAX_VMCOREINFO_BYTES:
                raise FormatError(f"VMCOREINFO of {size_bytes} bytes is too long")
            return read_exactly(fd, start, size_bytes)
    raise FormatError("no VMCOREINFO note")


def _note_segments(fd: int) -> Iterator[tuple[int, int]]:
    """Where each PT_NOTE segment starts and ends in the file."""
    header = read_exactly(fd, 0, _ELF_HEADER.size)
    ident, table, entry_bytes, entries = _ELF_HEADER.unpack(header)
    if ident != _IDENT or entry_bytes != _PROGRAM_HEADER.size:
        raise FormatError("not a little-endian ELF64 core file")
    # At most 65535 headers of 56 bytes: 3.5 MiB.
    headers = read_exactly(fd, table, entries * entry_bytes)
    for kind, offset, size_bytes in _PROGRAM_HEADER.iter_unpack(headers):
        if kind == _PT_NOTE:
            yield offset, offset + size_bytes


def _notes(fd: int, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of each note's content.

    Contents are stepped over, not read: device dumps come first and can have many MiB (vmcore.c). The
    zeros that fill up the segment's last page read as notes without name and content.
    """
    while offset + _NOTE_HEADER.size <= end:
        head = read_exactly(fd, offset, min(_NOTE_HEADER.size + len(_NAME), end - offset))
        name_bytes, size_bytes, _kind = _NOTE_HEADER.unpack_from(head)
        start = offset + _NOTE_HEADER.size + _aligned(name_bytes)
        yield head[_NOTE_HEADER.size :][:name_bytes], start, size_bytes
        offset = start + _aligned(size_bytes)


def _aligned(size_bytes: int) -> int:
    return (size_bytes + 3) & ~3
