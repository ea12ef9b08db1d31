"""The headers of ``/proc/vmcore``: VMCOREINFO, each CPU's stack pointer, and the ranges of memory.

The kernel presents the crashed memory as an ELF64 core file (fs/proc/vmcore.c). Only the ELF header, the
program headers and the notes are read here, never memory.
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
_ELF_HEADER: Final = struct.Struct("<6s12xH12xQ14xHH6x")  # ident, e_machine, e_phoff, e_phentsize, e_phnum
_PROGRAM_HEADER: Final = struct.Struct("<I4xQQQQ16x")  # p_type, p_offset, p_vaddr, p_paddr, p_filesz
_NOTE_HEADER: Final = struct.Struct("<III")  # n_namesz, n_descsz, n_type
_PT_LOAD: Final = 1
_PT_NOTE: Final = 4
_NAME: Final = b"VMCOREINFO\0"

# The registers of a CPU: struct elf_prstatus, of which pr_reg is struct user_regs_struct (asm/user_64.h).
_NT_PRSTATUS: Final = 1
_X86_64: Final = 62
_RSP: Final = struct.Struct("<264xQ")

# One note for each CPU, of which the kernel supports 8192; device dumps add a few (NT_VMCOREDD).
_MAX_NOTES: Final = 16384

# The kernel keeps VMCOREINFO in one page (VMCOREINFO_BYTES), and a page is at most 64 KiB.
MAX_VMCOREINFO_BYTES: Final = 1 << 16

# The end of the year 9999, the last that datetime knows.
_MAX_TIME_S: Final = 253402300799


@frozen(kw_only=True)
class Segment:
    """A contiguous range of memory: where it is in the file, in the kernel's addresses, and in the machine.

    Attributes:
        offset: where it starts in the file.
        virtual: virtual address of its first byte.
        physical: physical address of its first byte.
        size_bytes: its length.
    """

    offset: int
    virtual: int
    physical: int
    size_bytes: int


@frozen(kw_only=True)
class Vmcoreinfo:
    """What the crashed kernel says about itself.

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


@frozen(kw_only=True)
class Layout:
    """What a vmcore holds, and where.

    Attributes:
        info: VMCOREINFO.
        memory: every range of memory; the kernel's image has one of its own and is part of another.
        stacks: the stack pointer of each CPU at the crash; x86-64 only.
        x86_64: True if it is of that architecture.
    """

    info: Vmcoreinfo
    memory: tuple[Segment, ...]
    stacks: tuple[int, ...]
    x86_64: bool


def parse_vmcoreinfo(data: bytes) -> Vmcoreinfo:
    """Read VMCOREINFO's lines ``KEY=VALUE`` (kernel: Documentation/admin-guide/kdump/vmcoreinfo.rst).

    A line that is not printable text with a ``=`` is skipped, and a number that does not parse is None: one
    bad line must not cost the others.

    Raises:
        FormatError: it is too long, or has no such line.
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
    fd = open_vmcore(path)
    try:
        return parse_vmcoreinfo(_find_note(fd))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    finally:
        os.close(fd)


def open_vmcore(path: str) -> int:
    """Open a core file for reading.

    Raises:
        FormatError: it cannot be opened.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: {_reason(error)}") from error


def read_layout(fd: int) -> Layout:
    """Read the layout of the ELF64 core file open as `fd`.

    Raises:
        FormatError: the file cannot be read, is no such core, or holds no usable VMCOREINFO.
    """
    machine, headers = _headers(fd)
    return Layout(
        info=parse_vmcoreinfo(_find_note(fd)),
        memory=tuple(segment for kind, segment in headers if kind == _PT_LOAD),
        stacks=tuple(_stacks(fd)) if machine == _X86_64 else (),
        x86_64=machine == _X86_64,
    )


def read_at(fd: int, offset: int, size_bytes: int) -> bytes:
    """Read `size_bytes` bytes at `offset`; fewer only at the end of the file.

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
    """A decimal number; None if it is anything else, or too large."""
    if text is None or not text.isdecimal() or len(text) > len(str(largest)):
        return None
    return int(text) if int(text) <= largest else None


def _find_note(fd: int) -> bytes:
    for name, _, start, size_bytes in _all_notes(fd):
        if name == _NAME:
            if size_bytes > MAX_VMCOREINFO_BYTES:
                raise FormatError(f"VMCOREINFO of {size_bytes} bytes is too long")
            return read_exactly(fd, start, size_bytes)
    raise FormatError("no VMCOREINFO note")


def _stacks(fd: int) -> Iterator[int]:
    """The stack pointer of each CPU that could still save its registers."""
    for name, kind, start, size_bytes in _all_notes(fd):
        if name.startswith(b"CORE\0") and kind == _NT_PRSTATUS and size_bytes >= _RSP.size:
            yield _RSP.unpack(read_exactly(fd, start, _RSP.size))[0]


def _all_notes(fd: int) -> Iterator[tuple[bytes, int, int, int]]:
    segments = (segment for kind, segment in _headers(fd)[1] if kind == _PT_NOTE)
    notes = (note for s in segments for note in _notes(fd, s.offset, s.offset + s.size_bytes))
    return islice(notes, _MAX_NOTES)


def _headers(fd: int) -> tuple[int, list[tuple[int, Segment]]]:
    """The machine type; and each program header's type and segment."""
    header = read_exactly(fd, 0, _ELF_HEADER.size)
    ident, machine, table, entry_bytes, entries = _ELF_HEADER.unpack(header)
    if ident != _IDENT or entry_bytes != _PROGRAM_HEADER.size:
        raise FormatError("not a little-endian ELF64 core file")
    # At most 65535 headers of 56 bytes: 3.5 MiB.
    headers = read_exactly(fd, table, entries * entry_bytes)
    return machine, [
        (kind, Segment(offset=offset, virtual=virtual, physical=physical, size_bytes=size_bytes))
        for kind, offset, virtual, physical, size_bytes in _PROGRAM_HEADER.iter_unpack(headers)
    ]


def _notes(fd: int, offset: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Name and kind of each note, offset and size of its content.

    Contents are skipped, not read: device dumps come first and can be many MiB long (vmcore.c). The zeros
    that fill the segment's last page read as notes without name and content.
    """
    while offset + _NOTE_HEADER.size <= end:
        head = read_exactly(fd, offset, min(_NOTE_HEADER.size + len(_NAME), end - offset))
        name_bytes, size_bytes, kind = _NOTE_HEADER.unpack_from(head)
        start = offset + _NOTE_HEADER.size + _aligned(name_bytes)
        yield head[_NOTE_HEADER.size :][:name_bytes], kind, start, size_bytes
        offset = start + _aligned(size_bytes)


def _aligned(size_bytes: int) -> int:
    return (size_bytes + 3) & ~3
