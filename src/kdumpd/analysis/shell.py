"""An interactive shell with the dump open and all symbols loaded."""

import subprocess

from drgn.cli import run_interactive

from kdumpd.analysis import crash8
from kdumpd.analysis.core import open_core
from kdumpd.analysis.progress import Progress
from kdumpd.analysis.subject import Dump
from kdumpd.analysis.symbols import Symbols
from kdumpd.errors import DumpError, trouble


def run_drgn(dump: Dump, symbols: Symbols, progress: Progress) -> None:
    """Stay in drgn's own shell until the user leaves it."""
    core = open_core(dump.path, symbols, progress)
    progress.end()
    run_interactive(core.program)


def run_crash(dump: Dump, symbols: Symbols) -> None:
    """Stay in crash(8) until the user leaves it.

    Raises:
        DumpError: it is not installed.
    """
    try:
        subprocess.run(["crash", *crash8.options(dump), str(symbols.vmlinux), str(dump.path)], check=False)
    except OSError as error:
        raise DumpError(f"crash: {trouble(error)}") from error
