"""The instruction at which a kernel crashed, and the registers that it used, from the log alone.

capstone, of the extra ``analysis``, decodes it; without it the bytes are shown as they are. x86-64 only.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from attrs import frozen

from kdumpd.crashes.record import CrashRecord
from kdumpd.dmesg.code import Code, read_code
from kdumpd.dmesg.poison import name_pointer, name_value

if TYPE_CHECKING:
    import capstone

_WORD: Final = (1 << 64) - 1
_FOLLOWING: Final = 3
# Parts of a register have names of their own: eax, ax, al and ah are rax; r8d, r8w and r8b are r8.
_LETTERED: Final = re.compile(r"[re]?([abcd])[xhl]")
_NAMED: Final = re.compile(r"[re]?(si|di|bp|sp)l?")
_NUMBERED: Final = re.compile(r"(r\d{1,2})[dwb]?")


@frozen(kw_only=True)
class Value:
    """A register or an address, its value, and what the value is known for."""

    name: str
    value: int
    note: str | None = None


@frozen(kw_only=True)
class Instruction:
    """The instruction at which the report was made.

    Attributes:
        place: function, offset and size; None where the log has none.
        text: the instruction in Intel's syntax; None where nothing could decode it.
        code: its bytes and those after it as hex digits; empty when the kernel could not read them.
        following: the instructions after it; the target of a jump is an offset in the function.
        values: the registers that it uses, then the address.
    """

    place: str | None
    text: str | None
    code: str
    following: tuple[str, ...]
    values: tuple[Value, ...]


def read(record: CrashRecord) -> Instruction | None:
    """Read it from a record's panic text; None when that tells nothing of it."""
    code = read_code(record.panic_text, record.symbol)
    if code is None or not (code.code or code.address is not None):
        return None
    decoded = list(_decoded(code))
    return Instruction(
        place=code.place,
        text=_text(decoded[0]) if decoded else None,
        code=code.code[code.at :].hex(" "),
        following=tuple(map(_text, decoded[1 : _FOLLOWING + 1])),
        values=(*_registers(decoded, code), *_addresses(decoded, code)),
    )


def lines(instruction: Instruction) -> list[str]:
    """It as text, a line each."""
    what = instruction.text or (f"bytes {instruction.code}" if instruction.code else "not in the log")
    first = f"{instruction.place or 'at an unknown place'}: {what}"
    values = [f"  {v.name} = {v.value:016x}{f'  ({v.note})' if v.note else ''}" for v in instruction.values]
    return [first, *values, *(f"  then {text}" for text in instruction.following)]


def _decoded(code: Code) -> "Iterator[capstone.CsInsn]":
    try:
        import capstone  # noqa: PLC0415 an extra brings it
    except ImportError:
        return
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    # Counted from the function's start, so that the targets of jumps are offsets in it.
    offset = int((code.place or "+0/").partition("+")[2].partition("/")[0], 16)
    yield from decoder.disasm(code.code[code.at :], offset, _FOLLOWING + 1)


def _text(instruction: "capstone.CsInsn") -> str:
    return f"{instruction.mnemonic} {instruction.op_str}".strip()


def _registers(decoded: "list[capstone.CsInsn]", code: Code) -> Iterator[Value]:
    if not decoded:
        return
    read_ones, written = decoded[0].regs_access()
    names = (_whole(decoded[0].reg_name(number)) for number in (*read_ones, *written))
    pointers = {_whole(name) for memory in _memories(decoded[0]) for name in memory[:2] if name}
    for name in dict.fromkeys(names):
        value = code.registers.get(name)
        if value is not None:
            yield Value(
                name=name, value=value, note=name_pointer(value) if name in pointers else name_value(value)
            )


def _addresses(decoded: "list[capstone.CsInsn]", code: Code) -> Iterator[Value]:
    """The address that the report names; else those of the operands in memory."""
    if code.address is not None:
        yield Value(name="address", value=code.address, note=name_pointer(code.address))
        return
    for base, index, scale, offset in _memories(decoded[0]) if decoded else ():
        used = [(name, factor) for name, factor in ((base, 1), (index, scale)) if name]
        known = [code.registers.get(_whole(name)) for name, _ in used]
        if None not in known:
            parts = (value * factor for value, (_, factor) in zip(known, used, strict=True) if value)
            address = (sum(parts) + offset) & _WORD
            yield Value(name="address", value=address, note=name_pointer(address))


def _memories(instruction: "capstone.CsInsn") -> Iterator[tuple[str | None, str | None, int, int]]:
    """Base, index, scale and offset of the operands in memory; a segment's start is not in a log."""
    from capstone import x86  # noqa: PLC0415 as above

    for operand in instruction.operands:
        if operand.type == x86.X86_OP_MEM and not operand.mem.segment and instruction.mnemonic != "lea":
            memory = operand.mem
            yield (
                instruction.reg_name(memory.base) if memory.base else None,
                instruction.reg_name(memory.index) if memory.index else None,
                memory.scale,
                memory.disp,
            )


def _whole(name: str) -> str:
    if found := _LETTERED.fullmatch(name):
        return f"r{found[1]}x"
    if found := _NAMED.fullmatch(name):
        return f"r{found[1]}"
    found = _NUMBERED.fullmatch(name)
    return found[1] if found else name
