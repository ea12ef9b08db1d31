"""A makedumpfile newer than a suite's own, with the libraries that it was built for."""

import shutil
from pathlib import Path

from . import cache, debian
from .command import run

# has 1.7.8; the free pages of 6.12 are excluded from 1.7.7 on
SUITE = "forky"
PLACE = "/scenario/makedumpfile-newer"
PROGRAM = f"{PLACE}/makedumpfile"
START = f"""#!/bin/sh
exec {PLACE}/lib/ld-linux-x86-64.so.2 --library-path {PLACE}/lib {PLACE}/lib/makedumpfile "$@"
"""


def newer() -> Path:
    """A folder to lie at PLACE in a guest."""
    return cache.entry(f"makedumpfile-{cache.digest(Path(__file__).read_bytes())}", _build)


def _build(folder: Path) -> None:
    root, libraries = folder / "root", folder / "lib"
    debian.unpack(SUITE, root, ["makedumpfile"])
    place = root / "usr/lib/x86_64-linux-gnu"
    loader = place / "ld-linux-x86-64.so.2"
    program = root / "usr/bin/makedumpfile"
    needed = run(str(loader), "--library-path", str(place), "--list", str(program))
    names = [line.split()[0] for line in needed.splitlines() if str(place) in line]
    libraries.mkdir()
    for file in (loader, program, *(place / name for name in names)):
        shutil.copy(file, libraries / file.name)
    (folder / "makedumpfile").write_text(START)
    (folder / "makedumpfile").chmod(0o755)
    shutil.rmtree(root)
