"""The first minutes of a newcomer, whole: the demo from nothing, at a terminal where nobody answers.

Figures of these bounds are in docs/benchmarks.md.
"""

import re
import time
from pathlib import Path

import pytest
from tests.terminal import at_terminal

from .app import REPOSITORY

pytestmark = [pytest.mark.vm, pytest.mark.campaign]

PLACE = re.compile(r"^  at (drivers/tty/sysrq\.c:\d+)\s*$", re.MULTILINE)
KEPT = re.compile(r"its folder is kept: (\S+)")


def demo(*options: str, cache: Path, limit_s: float) -> tuple[str, Path]:
    """Run the demo; returns what it showed and the crash folder that it kept."""
    started = time.monotonic()
    done = at_terminal([REPOSITORY / "scripts/demo", *options], limit_s=limit_s, XDG_CACHE_HOME=str(cache))
    print(f"scripts/demo {' '.join(options)}: {time.monotonic() - started:.0f} s")
    assert done.returncode == 0, done.stdout
    (folder,) = KEPT.findall(done.stdout)
    return done.stdout, Path(folder)


def test_the_demo_ends_in_an_answer(tmp_path: Path) -> None:
    demo(cache=tmp_path, limit_s=240)
    shown, folder = demo("--analyze", cache=tmp_path, limit_s=240)
    (place,) = PLACE.findall(shown)
    page = (folder / "analysis.html").read_text()
    assert "sysrq_handle_crash" in page
    assert f">{place}<" in page
    demo(cache=tmp_path, limit_s=60)
    shown, _ = demo("--analyze", cache=tmp_path, limit_s=75)
    assert "MB fetched" not in shown
    assert re.search(r"^Type next:\s(  \S.*\s)+$", shown, re.MULTILINE)


def test_a_machine_with_more_memory_than_this_one(tmp_path: Path) -> None:
    shown, folder = demo(
        *("--memory", "65536", "--crashkernel", "256M", "--keep", str(tmp_path / "kept")),
        cache=Path.home() / ".cache",
        limit_s=480,
    )
    assert folder == tmp_path / "kept"
    assert "kernel panic, kdump collected" in shown
    assert list(folder.glob("kdump-*.dump"))
