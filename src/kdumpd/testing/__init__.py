"""A simulated machine for the tests of kdumpd and of services that embed it.

Nothing here needs root, pytest or a real clock. Imported by tests alone, ours and those of embedders; imports
``host`` and below.
"""

from kdumpd.testing.console import ConsoleLine, SimulatedConsole
from kdumpd.testing.crash import CRASH_TIME_S, DEFAULT_LOG, make_vmcoreinfo
from kdumpd.testing.disk import SimulatedDisk, SimulatedFolder
from kdumpd.testing.kdumpfile import flattened_records, make_kdump
from kdumpd.testing.machine import SimulatedMachine
from kdumpd.testing.makedumpfile import Failure, SimulatedMakedumpfile
from kdumpd.testing.programs import Program, SimulatedProcess
from kdumpd.testing.timers import SimulatedDeadline, SimulatedWatchdog

__all__ = [
    "CRASH_TIME_S",
    "DEFAULT_LOG",
    "ConsoleLine",
    "Failure",
    "Program",
    "SimulatedConsole",
    "SimulatedDeadline",
    "SimulatedDisk",
    "SimulatedFolder",
    "SimulatedMachine",
    "SimulatedMakedumpfile",
    "SimulatedProcess",
    "SimulatedWatchdog",
    "flattened_records",
    "make_kdump",
    "make_vmcoreinfo",
]
