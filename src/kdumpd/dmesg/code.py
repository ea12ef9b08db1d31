"""The machine code around a crash, and the registers, as an x86-64 kernel prints them.

show_opcodes() in arch/x86/kernel/dumpstack.c prints 42 bytes before the instruction pointer and 22 from it
on, the first of these in angle brackets; __show_regs() in arch/x86/kernel/process_64.c prints the registers.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

_PLACE: Final = re.compile(
    r"\bRIP: (?:0010|0018|e030|0008):(?:\[<[0-9a-f]{1,16}>\] *){0,2}"
    r"(?P<place>(?P<symbol>[A-Za-z_.$][\w.$]{0,255})\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8})?",
    re.ASCII,
)
_OTHER_PLACE: Final = re.compile(r"\bRIP: [0-9a-f]{4}:|\bCall Trace:")
_USER_PLACE: Final = re.compile(r"\bRIP: 00[23]3:")
_CODE: Final = re.compile(
    r"\bCode: (?P<before>(?:[0-9a-f]{2} ){0,64})<(?P<at>[0-9a-f]{2})>(?P<after>(?: [0-9a-f]{2}){0,64})"
)
_REGISTER: Final = re.compile(
    r"\bR(?P<name>[A-D]X|[SD]I|[SB]P|(?!0[0-7])[01]\d): (?:[0-9a-f]{4}:)?(?P<value>[0-9a-f]{16})\b"
)
_ADDRESS: Final = re.compile(
    r"(?:NULL pointer dereference(?:, address:| at)|page fault for address:|paging request at"
    r"|non-canonical address)(?: virtual address)? (?:0x(?=\w))?(?:(?P<address>[0-9a-f]{4,16})\b|\(null\))"
)


@frozen(kw_only=True)
class Code:
    """What a report tells of the instruction at which it was made.

    Attributes:
        place: function, offset and size, such as ``acme_put+0x2a/0xfa``; None where the log has none.
        code: the bytes that the kernel printed; empty when it could not read them.
        at: where in them the instruction starts.
        registers: values by names in lower case, ``rax`` to ``r15``.
        address: the address that could not be accessed; None where the report names none.
    """

    place: str | None
    code: bytes
    at: int
    registers: Mapping[str, int]
    address: int | None


def read_code(lines: Sequence[str], symbol: str | None = None) -> Code | None:
    """Read the code of a panic text, at the place in ``symbol`` where it has several; None without any."""
    places = [(number, found) for number, line in enumerate(lines) if (found := _PLACE.search(line))]
    if not places:
        return None
    start, place = next((each for each in places if each[1]["symbol"] == symbol), places[0])
    below = lines[start + 1 :]
    code = _code(below)
    return Code(
        place=place["place"],
        code=code[0],
        at=code[1],
        registers=_registers(below),
        address=_address(lines[:start]),
    )


def _code(below: Sequence[str]) -> tuple[bytes, int]:
    """The bytes, and where in them the mark is; what stands below a user's place is a program's code."""
    for line in below:
        if _USER_PLACE.search(line):
            break
        if found := _CODE.search(line):
            before = bytes.fromhex(found["before"])
            return before + bytes.fromhex(found["at"] + found["after"]), len(before)
    return b"", 0


def _registers(below: Sequence[str]) -> dict[str, int]:
    registers: dict[str, int] = {}
    for line in below:
        if _OTHER_PLACE.search(line):
            break
        for found in _REGISTER.finditer(line):
            registers["r" + found["name"].lower().lstrip("0")] = int(found["value"], 16)
    return registers


def _address(above: Sequence[str]) -> int | None:
    found = next(filter(None, map(_ADDRESS.search, above)), None)
    return int(found["address"] or "0", 16) if found else None
