"""Small ELF files for tests, laid out as elf(5) describes: a kernel's, and a module's."""

import struct
from collections.abc import Mapping

BUILD_ID = "3b43fad5034874490492495d552c0af6a5fab235"
X86_64, AARCH64 = 62, 183
NOTE, SYMTAB, STRTAB, PROGBITS = 7, 2, 3, 1
ALLOCATED = 2


def note(build_id: str) -> bytes:
    other = struct.pack("<III", 6, 4, 0x101) + b"Linux\0\0\0" + bytes(4)
    content = bytes.fromhex(build_id)
    return other + struct.pack("<III", 4, len(content), 3) + b"GNU\0" + content


def kernel(
    build_id: str | None = BUILD_ID,
    *,
    machine: int = X86_64,
    symbols: Mapping[str, int] | None = None,
    text: bytes = b"",
) -> bytes:
    """A vmlinux: notes by program header, symbols by section."""
    notes = note(build_id) if build_id else b""
    start = 64 + 56
    names, entries = _symbols(symbols or {})
    places = start + len(notes) + len(text)
    sections = b"".join(
        _section(kind, offset, size, link, entry)
        for kind, offset, size, link, entry in (
            (0, 0, 0, 0, 0),
            (SYMTAB, places, len(entries), 2, 24),
            (STRTAB, places + len(entries), len(names), 0, 0),
        )
    )
    table = places + len(entries) + len(names)
    header = _header(2, machine, programs=1, table=table, sections=3)
    program = struct.pack("<IIQQQQQQ", 4, 4, start, 0, 0, len(notes), len(notes), 4)
    return header + program + notes + text + entries + names + sections


def module(build_id: str = BUILD_ID) -> bytes:
    """A module: no program headers, everything by section."""
    notes, names = note(build_id), b"\0.note.gnu.build-id\0.text\0.comment\0.shstrtab\0"
    table = 64 + len(notes) + len(names)
    sections = b"".join(
        (
            _section(0, 0, 0, 0, 0),
            _section(NOTE, 64, len(notes), 0, 0, name=1, flags=ALLOCATED),
            _section(PROGBITS, 64, 16, 0, 0, name=20, flags=ALLOCATED | 4),
            _section(PROGBITS, 64, 4, 0, 0, name=26),
            _section(STRTAB, 64 + len(notes), len(names), 0, 0, name=35),
        )
    )
    return _header(1, X86_64, programs=0, table=table, sections=5, names=4) + notes + names + sections


def _header(kind: int, machine: int, *, programs: int, table: int, sections: int, names: int = 0) -> bytes:
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    sizes = (64, 56, programs, 64, sections, names)
    return ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, table, 0, *sizes)


def _section(
    kind: int, offset: int, size: int, link: int, entry: int, *, name: int = 0, flags: int = 0
) -> bytes:
    return struct.pack("<IIQQQQIIQQ", name, kind, flags, 0, offset, size, link, 0, 1, entry)


def _symbols(symbols: Mapping[str, int]) -> tuple[bytes, bytes]:
    names, entries = b"\0", bytes(24)
    for name, address in symbols.items():
        entries += struct.pack("<IBBHQQ", len(names), 18, 0, 1, address, 8)
        names += name.encode() + b"\0"
    return names, entries
