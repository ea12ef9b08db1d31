"""The call trace that the kernel itself wrote into its log, with source lines.

For a dump in which the stack cannot be read, and for a crash that left its log alone. A line of a trace
is a function and an offset in it, which debug symbols turn into source lines wherever the kernel lay.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import drgn
from attrs import frozen

from kdumpd.analysis.elf import loaded_sections
from kdumpd.analysis.findings import Frame, Stack
from kdumpd.analysis.gather import part, text
from kdumpd.analysis.stacks import place
from kdumpd.analysis.symbols import Symbols
from kdumpd.crashes.record import CrashRecord
from kdumpd.errors import FormatError

_CALL: Final = re.compile(
    r"(?P<place>RIP: 00[0-9a-f]{2}:|pc : )?(?<!\? )\b(?P<symbol>[A-Za-z_.$][\w.$]{0,255})"
    r"\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})(?: \[(?P<module>\w{1,64}))?",
    re.ASCII,
)

# Somewhere to put what is never read: the kernel as linked, modules above it.
_KERNEL_RANGE: Final = (1 << 63, (1 << 64) - (1 << 32))
_MODULES_START: Final = (1 << 64) - (1 << 32)

_ARCHITECTURES: Final = {
    "x86_64": drgn.Architecture.X86_64,
    "aarch64": drgn.Architecture.AARCH64,
    "riscv64": drgn.Architecture.RISCV64,
}


@frozen(kw_only=True)
class Call:
    """One line of a trace. `returns`: the offset is a return address, after the call."""

    symbol: str
    offset: int
    size_bytes: int
    module: str | None
    returns: bool


def read(record: CrashRecord, symbols: Symbols) -> Stack | None:
    """Read the trace of a crash; None when its log has none."""
    calls = list(find_calls(record))
    if not calls:
        return None
    modules = sorted({call.module for call in calls if call.module})
    program = _program(symbols, record.release or "", modules)
    frames = tuple(frame for call in calls for frame in _frames(program, call))
    return Stack(tasks=(), frames=frames)


def find_calls(record: CrashRecord) -> Iterator[Call]:
    """Find the place and offset of each function that the record names, in their order."""
    left = list(record.frames)
    # On x86 the place of a fault stands above the trace and not in it.
    place = record.symbol
    for line in record.panic_text:
        found = _CALL.search(line)
        if found and left and found["symbol"] == left[0]:
            left.pop(0)
            yield _call(found)
        elif found and found["place"] and found["symbol"] == place:
            place = None
            yield _call(found)


def _call(found: re.Match[str]) -> Call:
    return Call(
        symbol=found["symbol"],
        offset=int(found["offset"], 16),
        size_bytes=int(found["size"], 16),
        module=found["module"],
        returns=not found["place"],
    )


def _program(symbols: Symbols, release: str, modules: Iterable[str]) -> drgn.Program:
    """A program without memory: names, addresses and lines alone."""
    program = drgn.Program(drgn.Platform(_ARCHITECTURES[symbols.machine]))
    kernel = program.extra_module("kernel", 0, create=True)
    kernel.address_ranges = [_KERNEL_RANGE]
    kernel.try_file(symbols.vmlinux, force=True)
    for number, name in enumerate(modules):
        for path in filter(lambda path: _is_for(path, release), symbols.of_module(name)):
            part(lambda path=path, name=name, number=number: _add_module(program, name, number, path))  # type: ignore[misc]
    return program


def _is_for(path: Path, release: str) -> bool:
    """Tell if a module was built for this kernel; the log has no build id of it."""
    return f"vermagic={release} ".encode() in path.read_bytes()


def _add_module(program: drgn.Program, name: str, number: int, path: Path) -> None:
    """Lay out a module's sections one after the other."""
    address = start = _MODULES_START + (number << 24)
    module = program.relocatable_module(name, start, create=True)
    with path.open("rb") as file:
        for section, size_bytes in loaded_sections(file):
            module.section_addresses[section] = address
            address += size_bytes + 63 & ~63
    module.address_ranges = [(start, address + 64)]
    module.try_file(path, force=True)


def _frames(program: drgn.Program, call: Call) -> tuple[Frame, ...]:
    """The call and what was inlined at its place, innermost first."""
    address = part(lambda: _address(program, call)).found
    sources = part(lambda: list(program.source_location(address))).found if address else None
    if not sources:
        return (Frame(function=call.symbol, module=call.module),)
    return tuple(
        Frame(
            function=text((part(source.name).found or call.symbol).encode()),
            source=place((source.filename, source.line)),
            module=call.module,
            inlined=number < len(sources) - 1,
        )
        for number, source in enumerate(sources)
    )


def _address(program: drgn.Program, call: Call) -> int:
    found = program.symbols(call.symbol)
    if not found:
        raise FormatError(f"no symbol {call.symbol}")
    # Static functions share names; their sizes tell them apart.
    best = next((symbol for symbol in found if symbol.size == call.size_bytes), found[0])
    return int(best.address) + call.offset - call.returns
