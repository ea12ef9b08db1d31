"""The headers of ``/proc/vmcore``: VMCOREINFO, with it crash time and release; stacks; where memory lies.

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

# One note per CPU, and the kernel supports 8192 of those; device dumps add a few (NT_VMCOREDD).
_MAX_NOTES: Final = 16384

# The kernel keeps VMCOREINFO in one page (VMCOREINFO_BYTES), and a page has at most 64 KiB.
MAX_VMCOREINFO_BYTES: Final = 1 << 16

# The last second that a calendar date can be made of: the end of the year 9999.
_MAX_TIME_S: Final = 253402300799


@frozen(kw_only=True)
class Segment:
    """Memory that lies in one piece: in the file, as the crashed kernel addressed it, and in the machine.

    Attributes:
        offset: where it starts in the file.
        virtual: the kernel's address of its first byte.
        physical: the machine's address of its first byte.
        size_bytes: its length.
    """

    offset: int
    virtual: int
    physical: int
    size_bytes: int


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


@frozen(kw_only=True)
class Layout:
    """Where a vmcore has what.

    Attributes:
        info: VMCOREINFO.
        memory: every piece of memory; the kernel's image is one more, and its memory is in another one too.
        stacks: the stack pointer of each CPU at the crash; of x86-64 alone.
        x86_64: True if it is of that architecture.
    """

    info: Vmcoreinfo
    memory: tuple[Segment, ...]
    stacks: tuple[int, ...]
    x86_64: bool


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
    fd = open_vmcore(path)
    try:
        return parse_vmcoreinfo(_find_note(fd))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    finally:
        os.close(fd)


def open_vmcore(path: str) -> int:
    """Open a core file to be read.

    Raises:
        FormatError: it cannot be opened.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: {_reason(error)}") from error


def read_layout(fd: int) -> Layout:
    """Read where the ELF64 core file open as `fd` has what.

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
    for name, _, start, size_bytes in _all_notes(fd):
        if name == _NAME:
            if size_bytes > MAX_VMCOREINFO_BYTES:
                raise FormatError(f"VMCOREINFO of {size_bytes} bytes is too long")
            return read_exactly(fd, start, size_bytes)
    raise FormatError("no VMCOREINFO note")


def _stacks(fd: int) -> Iterator[int]:
    """The stack pointer of each CPU that could still note its registers."""
    for name, kind, start, size_bytes in _all_notes(fd):
        if name.startswith(b"CORE\0") and kind == _NT_PRSTATUS and size_bytes >= _RSP.size:
            yield _RSP.unpack(read_exactly(fd, start, _RSP.size))[0]


def _all_notes(fd: int) -> Iterator[tuple[bytes, int, int, int]]:
    segments = (segment for kind, segment in _headers(fd)[1] if kind == _PT_NOTE)
    notes = (note for s in segments for note in _notes(fd, s.offset, s.offset + s.size_bytes))
    return islice(notes, _MAX_NOTES)


def _headers(fd: int) -> tuple[int, list[tuple[int, Segment]]]:
    """The machine, and each program header: its kind, and what it speaks of."""
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

    Contents are stepped over, not read: device dumps come first and can have many MiB (vmcore.c). The
    zeros that fill up the segment's last page read as notes without name and content.
    """
    while offset + _NOTE_HEADER.size <= end:
        head = read_exactly(fd, offset, min(_NOTE_HEADER.size + len(_NAME), end - offset))
        name_bytes, size_bytes, kind = _NOTE_HEADER.unpack_from(head)
        start = offset + _NOTE_HEADER.size + _aligned(name_bytes)
        yield head[_NOTE_HEADER.size :][:name_bytes], kind, start, size_bytes
        offset = start + _aligned(size_bytes)


def _aligned(size_bytes: int) -> int:
    return (size_bytes + 3) & ~3
