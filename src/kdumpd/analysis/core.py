"""A dump opened with drgn, with all symbols that were found loaded."""

import logging
from collections.abc import Iterator
from pathlib import Path

import drgn
from attrs import frozen
from drgn.helpers.linux.kallsyms import load_module_kallsyms
from drgn.helpers.linux.module import module_address_regions

from kdumpd.analysis.progress import Progress
from kdumpd.analysis.symbols import Symbols
from kdumpd.errors import FormatError

# drgn's own warnings go to a logger; what they say is told where it matters.
logging.getLogger("drgn").addHandler(logging.NullHandler())


@frozen(kw_only=True)
class Core:
    """An open dump.

    Attributes:
        program: drgn's program.
        with_symbols: the modules whose debug symbols are loaded.
    """

    program: drgn.Program
    with_symbols: frozenset[str]


def open_core(dump: Path, symbols: Symbols, progress: Progress) -> Core:
    """Open a dump and load the symbols of the kernel and of the loaded modules.

    Raises:
        FormatError: drgn cannot open it.
    """
    program = drgn.Program()
    progress.step("opening the dump")
    try:
        program.set_core_dump(dump)
        # The kernel comes first, and with its symbols drgn finds the modules.
        modules = (module for module, _ in program.loaded_modules())
        progress.step("reading debug symbols")
        # The build id was compared already; a kernel that was linked without one has none to compare.
        next(modules).try_file(symbols.vmlinux, force=True)
    except Exception as error:
        raise FormatError(f"{dump}: drgn cannot open it: {one_line(error)}") from error
    loaded = _load_modules(modules, symbols)
    _name_module_functions(program)
    return Core(program=program, with_symbols=loaded)


def one_line(error: Exception) -> str:
    """What a reader says of a dump's content, in one line."""
    if isinstance(error, drgn.FaultError):
        return f"this leads to memory that is not in the dump ({error.address:#x})"
    return " ".join(str(error).split()) or type(error).__name__


def _load_modules(modules: Iterator[drgn.Module], symbols: Symbols) -> frozenset[str]:
    loaded = set()
    try:
        for module in modules:
            if isinstance(module, drgn.RelocatableModule) and _load_module(module, symbols):
                loaded.add(module.name)
    except (drgn.FaultError, LookupError, ValueError):
        pass  # The list leads into pages that are not in the dump: the rest has no symbols.
    return frozenset(loaded)


def _name_module_functions(program: drgn.Program) -> None:
    """Let functions of modules without symbols have their names at least: the kernel's own table has them."""
    try:
        names = load_module_kallsyms(program)
    except (drgn.FaultError, LookupError, ValueError):
        return  # The table is not in the dump.
    program.register_symbol_finder("module kallsyms", names, enable_index=-1)


def _load_module(module: drgn.RelocatableModule, symbols: Symbols) -> bool:
    # drgn leaves out the memory of a module's init functions, and its unwinder stops there; a module that
    # crashes as it is loaded crashes in just that.
    ranges = [(start, start + size) for start, size in module_address_regions(module.object) if size]
    module.address_ranges = ranges
    for path in symbols.of_module(module.name):
        module.try_file(path)
        if module.debug_file_status == drgn.ModuleFileStatus.HAVE:
            return True
    return False
