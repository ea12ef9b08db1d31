"""Crash a machine and watch: the serial console with the time since power-on, then what /persist holds."""

import argparse
import sys
import tempfile
from pathlib import Path

from .machine import SerialLine
from .report import report
from .scenario import MIB, TRIGGERS, Scenario, crash


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    add = parser.add_argument
    add("--suite", default="bookworm", help="Debian release of the guest (default: %(default)s)")
    add("--memory", type=int, default=2048, metavar="MIB", help="RAM (default: %(default)s)")
    add(
        "--storage-delay",
        type=float,
        default=15,
        metavar="S",
        help="until P3 is there (default: %(default)s)",
    )
    add("--trigger", default="sysrq-c", choices=sorted(TRIGGERS), help="how to crash (default: %(default)s)")
    add("--config", type=Path, metavar="FILE", help="a kdumpd.toml for the capture kernel")
    arguments = parser.parse_args()
    scenario = Scenario(
        suite=arguments.suite,
        memory_bytes=arguments.memory * MIB,
        storage_delay_s=arguments.storage_delay,
        trigger=arguments.trigger,
        config=arguments.config.read_text() if arguments.config else "",
    )
    with tempfile.TemporaryDirectory(prefix="kdumpd-demo-") as folder:
        run = crash(scenario, Path(folder), watch=_show)
        print(f"\nQEMU ended: {run.ending}\n")
        print(report(run.persist, Path(folder) / "persist"))


def _show(line: SerialLine) -> None:
    print(f"{line.time_s:7.2f} {line.text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; the machine is gone and its files are removed")
        sys.exit(130)
