"""The demo: a machine crashes, kdumpd collects it, and what it collected is looked at."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

from kdumpd.errors import KdumpError

from . import image, modules, symbols
from .app import REPOSITORY, app
from .hostmemory import HostMemory, MemoryRefusedError
from .kept import keep
from .machine import SerialLine
from .options import parser
from .report import report
from .scenario import GIB, MIB, Scenario, crash

# what a user types, from here or from elsewhere
PLACE = Path() if Path.cwd() == REPOSITORY else REPOSITORY
KDUMPD = str(PLACE / ".venv/bin/kdumpd")
SHOWN_LINES = 40


@attrs.define(kw_only=True)
class Stages:
    """Counts what the demo does; the first, installing, is scripts/demo's."""

    total: int
    done: int = 1

    def begin(self, text: str) -> None:
        """Say what begins now."""
        self.done += 1
        print(f"\n{self.done} of {self.total}: {text}")


def main() -> None:
    arguments = parser().parse_args()
    stages = Stages(total=5 if arguments.analyze else 4)
    scenario = Scenario(
        suite=arguments.suite,
        memory_bytes=arguments.memory * MIB,
        crashkernel=arguments.crashkernel,
        storage_delay_s=arguments.storage_delay,
        trigger=arguments.trigger,
        config=arguments.config.read_text() if arguments.config else "",
        limit_s=240 + 3 * arguments.memory * MIB / GIB,
    )
    word = HostMemory.of().word_on(scenario.memory_bytes)
    stages.begin("kdumpd's image, and a guest with a kernel that will panic")
    app()
    image.image(scenario.suite)
    if _loads_a_module(scenario):
        modules.modules(scenario.suite)
    folder = _collect(scenario, arguments.keep, word, stages)
    commands = _analyze(folder, scenario, stages) if arguments.analyze else _without_symbols(folder)
    print("\nType next:")
    for command, what in commands:
        print(f"  {command:<40}  # {what}" if len(command) <= 40 else f"  # {what}\n  {command}")


def _collect(scenario: Scenario, target: Path | None, word: str, stages: Stages) -> Path:
    """Crash the machine and show what kdumpd made of it; returns the crash folder that is kept."""
    stages.begin(f"the machine, with seconds since power-on: it panics after some 8 s, and has P3 "
                 f"{scenario.storage_delay_s:g} s after its capture kernel has started")  # fmt: skip
    if word:
        print(word)
    with tempfile.TemporaryDirectory(prefix="kdumpd-demo-") as work:
        run = crash(scenario, Path(work), watch=_show)
        print(f"\nQEMU ended: {run.ending}\n")
        print(report(run.persist, Path(work) / "persist"))
        folder = keep(Path(work) / "persist", target)
    stages.begin(f"what kdumpd knows of the crash; its folder is kept: {folder}")
    _run("show", "latest", "--folder", str(folder))
    return folder


def _show(line: SerialLine) -> None:
    print(f"{line.time_s:7.2f} {line.text}")


def _loads_a_module(scenario: Scenario) -> bool:
    return modules.source(scenario.trigger).exists()


def _analyze(folder: Path, scenario: Scenario, stages: Stages) -> list[tuple[str, str]]:
    """From the dump to the line that crashed; returns what to type next."""
    known = symbols.known(scenario.suite)
    stages.begin("the line that crashed, from the dump and the kernel's debug symbols"
                 + ("" if known else ": 283 MB to download, 590 MB on disk, once"))  # fmt: skip
    with_modules = _loads_a_module(scenario)
    debug = symbols.symbols(scenario.suite) if with_modules else symbols.vmlinux(scenario.suite).parent
    page = folder / "analysis.html"
    words = ["analyze", "latest", "--folder", str(folder), "--debug", str(debug)]
    _run(*words, lines=SHOWN_LINES)
    _run(*words, "--html", str(page))
    return [
        (f"xdg-open {shlex.quote(str(page))}", "all of it as a page; it asks the network for nothing"),
        (shlex.join([KDUMPD, *words]), "all of it as text"),
        (shlex.join([KDUMPD, *words, "--shell"]), "look yourself, with drgn"),
    ]


def _without_symbols(folder: Path) -> list[tuple[str, str]]:
    where = shlex.quote(str(folder))
    return [
        (f"{PLACE / 'scripts/demo'} --analyze", "and the line that crashed; 283 MB of debug symbols, once"),
        (f"{KDUMPD} show latest --folder {where}", "the above again"),
        (f"{KDUMPD} export latest crash.tar.zst --folder {where}", "a bundle for support"),
    ]


def _run(*words: str, lines: int | None = None) -> None:
    """Show a command of kdumpd's and its output, of which perhaps only the beginning."""
    print(f"$ {shlex.join([KDUMPD, *words])}")
    done = subprocess.run(
        [KDUMPD, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False
    )
    output = done.stdout.splitlines()
    print("\n".join([*output[:lines], *(["..."] if output[lines:] and lines else [])]))
    if done.returncode != 0:
        raise RuntimeError(f"kdumpd {words[0]}: exit status {done.returncode}")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; the machine is gone and its files are removed")
        sys.exit(130)
    except MemoryRefusedError as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        sys.exit(2)
    except (RuntimeError, KdumpError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        sys.exit(1)
