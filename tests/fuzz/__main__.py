"""Search for input that breaks a parser. What was found is kept in .cache/fuzz/TARGET."""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_FOLDER = Path(__file__).parent.parent.parent / ".cache" / "fuzz"

# Columns of the table, and where libFuzzer says it.
_FIGURES = {
    "cases": r"stat::number_of_executed_units: *(\d+)",
    "seconds": r"Done \d+ runs in (\d+) second",
    "edges": r" cov: (\d+)",
    "features": r" ft: (\d+)",
    "peak MiB": r"stat::peak_rss_mb: *(\d+)",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="one shows its search; several, a table")
    parser.add_argument("--runs", type=int, default=1_000_000, help="cases per target (default: %(default)s)")
    arguments = parser.parse_args()
    if len(arguments.targets) != 1:
        return _table(arguments.targets, arguments.runs)
    from tests.fuzz.guided import search  # noqa: PLC0415 - needs atheris, and changes every later import

    search(arguments.targets[0], arguments.runs, _FOLDER / arguments.targets[0])
    return 0


def _table(names: Sequence[str], runs: int) -> int:
    """Run targets (all, if none is named), each in its own process, and print what came of it."""
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - not before atheris, where there is one target

    _FOLDER.mkdir(parents=True, exist_ok=True)
    print(_row("target", *_FIGURES, "outcome"), _row(*["---"] * (len(_FIGURES) + 2)), sep="\n", flush=True)
    codes = []
    for name in names or TARGETS:
        log = _FOLDER / f"{name}.log"
        with log.open("wb") as output:
            argv = [sys.executable, "-m", "tests.fuzz", name, f"--runs={runs}"]
            codes.append(
                subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
            )
        text = log.read_text(errors="replace")
        figures = [_last(pattern, text) for pattern in _FIGURES.values()]
        print(_row(name, *figures, "clean" if codes[-1] == 0 else f"failed, see {log}"), flush=True)
    return max(codes)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _last(pattern: str, log: str) -> str:
    found: Sequence[str] = re.findall(pattern, log)
    return found[-1] if found else "-"


if __name__ == "__main__":
    sys.exit(main())
