"""An ELF file's architecture, build id and symbol addresses: enough to tell whether it belongs to a dump.

Of vmlinux only headers and notes are read at first, and those front to back, so that a file inside a
compressed archive will do. The layout is elf(5)'s, 64-bit and little-endian.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import IO, Final, Protocol

from attrs import frozen

from kdumpd.errors import FormatError

MAGIC: Final = b"\x7fELF"

_IDENT: Final = b"\x7fELF\x02\x01"
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
_SECTION_HEADER: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_NOTE: Final = struct.Struct("<III")
_PT_NOTE: Final = 4
_SHT_SYMTAB: Final = 2
_SHT_NOTE: Final = 7
_SHF_ALLOC: Final = 2
_NT_GNU_BUILD_ID: Final = 3
_MACHINES: Final = {62: "x86_64", 183: "aarch64", 243: "riscv64"}

# Notes are a few hundred bytes; a symbol table of a kernel with everything in it has some 20 MiB.
_MAX_NOTES_BYTES: Final = 1 << 20
_MAX_TABLE_BYTES: Final = 1 << 28
_CHUNK_BYTES: Final = 1 << 20


class Readable(Protocol):
    """What of a file is needed; an archive's member has it too, forwards."""

    def seek(self, offset: int, /) -> int:
        """Go to a place."""

    def read(self, size_bytes: int, /) -> bytes:
        """Read so many bytes, or what is left."""


class Forwards:
    """A stream as a file that can be read front to back: seeking reads on."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._place = 0

    def seek(self, offset: int, /) -> int:
        """Go on to a place. Raises FormatError for one that is passed already."""
        if offset < self._place:
            raise FormatError(f"ELF file whose parts are not in order: {offset} comes after {self._place}")
        while self._place < offset and self.read(min(_CHUNK_BYTES, offset - self._place)):
            pass
        return self._place

    def read(self, size_bytes: int, /) -> bytes:
        """Read so many bytes, or what is left."""
        data = self._stream.read(size_bytes)
        self._place += len(data)
        return data


@frozen(kw_only=True)
class Elf:
    """What tells one kernel from another.

    Attributes:
        machine: as ``uname -m`` says it.
        build_id: hex digits; None when it was linked without.
    """

    machine: str
    build_id: str | None


def read_elf(file: Readable) -> Elf:
    """Read what an ELF file is; it is read front to back.

    Raises:
        FormatError: it is not a 64-bit little-endian ELF file, or was cut.
    """
    header = _header(file)
    table = _read(file, header[5], header[9] * header[10])
    notes = sorted(
        (offset, size_bytes)
        for kind, _, offset, _, _, size_bytes, _, _ in _PROGRAM_HEADER.iter_unpack(table)
        if kind == _PT_NOTE
    )
    # A kernel module has no program headers: its notes are found by its sections, at the file's end.
    places = notes or [
        (section[4], section[5]) for section in _sections(file, header) if section[1] == _SHT_NOTE
    ]
    found = (_build_id(_read(file, offset, size)) for offset, size in places if size <= _MAX_NOTES_BYTES)
    return Elf(
        machine=_MACHINES.get(header[2], f"machine {header[2]}"), build_id=next(filter(None, found), None)
    )


def symbol_addresses(file: Readable, names: Iterable[str]) -> dict[str, int]:
    """Find where an ELF file puts these symbols; those that it has not are left out.

    Raises:
        FormatError: as in `read_elf`.
    """
    wanted = {name.encode() for name in names}
    sections = list(_sections(file, _header(file)))
    table = next((section for section in sections if section[1] == _SHT_SYMTAB), None)
    if table is None or table[6] >= len(sections):
        return {}
    strings = _section(file, sections[table[6]])
    entries = _section(file, table)
    found = {}
    for place, *_, value, _size in _SYMBOL.iter_unpack(
        entries[: len(entries) // _SYMBOL.size * _SYMBOL.size]
    ):
        name = strings[place : strings.find(b"\0", place)]
        if name in wanted:
            found[name.decode()] = value
    return found


def loaded_sections(file: Readable) -> list[tuple[str, int]]:
    """Name and size of each section that is loaded into memory.

    Raises:
        FormatError: as in `read_elf`.
    """
    header = _header(file)
    sections = list(_sections(file, header))
    if header[13] >= len(sections):
        raise FormatError("ELF file without names of its sections")
    names = _section(file, sections[header[13]])
    loaded = [section for section in sections if section[2] & _SHF_ALLOC]
    return [(names[s[0] : names.find(b"\0", s[0])].decode("latin-1"), s[5]) for s in loaded]


def _header(file: Readable) -> tuple[int, ...]:
    header = _HEADER.unpack(_read(file, 0, _HEADER.size))
    if not header[0].startswith(_IDENT):
        raise FormatError("not a 64-bit little-endian ELF file")
    if header[9] != _PROGRAM_HEADER.size and header[10]:
        raise FormatError(f"ELF program headers of {header[9]} bytes")
    return header


def _sections(file: Readable, header: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if header[11] == _SECTION_HEADER.size:
        yield from _SECTION_HEADER.iter_unpack(_read(file, header[6], header[11] * header[12]))


def _section(file: Readable, section: tuple[int, ...]) -> bytes:
    if section[5] > _MAX_TABLE_BYTES:
        raise FormatError(f"ELF section of {section[5]} bytes")
    return _read(file, section[4], section[5])


def _build_id(notes: bytes) -> str | None:
    place = 0
    while place + _NOTE.size <= len(notes):
        name_bytes, size_bytes, kind = _NOTE.unpack_from(notes, place)
        name = place + _NOTE.size
        content = name + (name_bytes + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[name : name + 4] == b"GNU\0":
            return notes[content : content + size_bytes].hex() or None
        place = content + (size_bytes + 3 & ~3)
    return None


def _read(file: Readable, offset: int, size_bytes: int) -> bytes:
    try:
        file.seek(offset)
        data = file.read(size_bytes)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"ELF with an impossible place: {offset}") from error
    if len(data) < size_bytes:
        raise FormatError(f"ELF file that ends before byte {offset + size_bytes}")
    return data
