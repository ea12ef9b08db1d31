"""One crash in words: its headline, its dump, what tainted the kernel."""

from typing import Final

from kdumpd.crashes.inventory import Crash
from kdumpd.crashes.record import CrashRecord
from kdumpd.text import size

# Documentation/admin-guide/tainted-kernels.rst in the kernel's source.
_TAINTS: Final = {
    "P": "proprietary module",
    "F": "module loaded by force",
    "S": "kernel on a machine out of its specification",
    "R": "module unloaded by force",
    "M": "machine check",
    "B": "bad page",
    "U": "set from user space",
    "D": "died before",
    "A": "ACPI table overridden",
    "W": "warning before",
    "C": "staging driver",
    "I": "firmware bug worked around",
    "O": "module from outside the kernel's tree",
    "E": "module without a signature",
    "L": "soft lockup before",
    "K": "live patched",
    "X": "auxiliary, of the distribution",
    "T": "structure layout randomised",
    "N": "in-kernel test",
}


def headline(record: CrashRecord) -> str:
    """The cause, and where."""
    return f"{record.cause} in {record.symbol}" if record.symbol else record.cause


def describe_dump(crash: Crash) -> str:
    """State, size and content of the dump in one line."""
    dump, file = crash.record.dump, crash.files.get("dump")
    why = f" ({dump.why})" if dump.why and crash.dump_state in ("none", "incomplete") else ""
    if file is None:
        return f"{crash.dump_state}{why}"
    content = f"{dump.compression}, level {dump.level}, {dump.pages} of {dump.expected_pages} pages"
    privacy = f", may hold private data: {dump.unfiltered}" if dump.unfiltered else ""
    return f"{crash.dump_state}{why}, {size(file.size_bytes)}, {content}{privacy}: {file.path.name}"


def taints(letters: str | None) -> str | None:
    """The kernel's taint letters with their meaning."""
    named = [f"{letter} ({_TAINTS[letter]})" for letter in letters or "" if letter in _TAINTS]
    return ", ".join(named) or None
