"""Crash a machine and watch: the serial console with the time since power-on, then what /persist holds."""

import argparse
import tempfile
from pathlib import Path

from .machine import Line
from .report import report
from .scenario import MIB, Scenario, crash


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--suite", default="bookworm", help="Debian release of the guest (default: %(default)s)"
    )
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="RAM (default: %(default)s)")
    parser.add_argument(
        "--storage-delay", type=float, default=5, metavar="S", help="seconds until P3 is mounted"
    )
    parser.add_argument("--trigger", default="sysrq-c", help="how to crash (default: %(default)s)")
    parser.add_argument("--config", type=Path, help="a kdumpd.toml for the capture kernel")
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


def _show(line: Line) -> None:
    print(f"{line.time_s:7.2f} {line.text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; the machine is gone and its files are removed")
        raise SystemExit(130) from None
