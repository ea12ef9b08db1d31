"""Another makedumpfile than the image's own: a Debian suite's, with the libraries that it was built for."""

import shutil
from pathlib import Path

from . import cache, debian
from .command import run

# Where it lies in kdumpd's container: a folder that the image has, and of which kdumpd needs nothing.
MOUNTPOINT = "/usr/share/doc"
PROGRAM = f"{MOUNTPOINT}/makedumpfile"
# The image has no shell.
START = f"""#!/usr/bin/python3 -I
import os, sys
loader = "{MOUNTPOINT}/lib/ld-linux-x86-64.so.2"
program = [loader, "--library-path", "{MOUNTPOINT}/lib", "{MOUNTPOINT}/lib/makedumpfile"]
os.execv(loader, [*program, *sys.argv[1:]])
"""


def of(suite: str) -> Path:
    """A suite's makedumpfile: a folder to lie at MOUNTPOINT in the container."""
    name = f"makedumpfile-{suite}-{cache.digest(Path(__file__).read_bytes())}"
    return cache.entry(name, lambda folder: _build(suite, folder))


def run_here(*arguments: str) -> None:
    """Run a makedumpfile on this machine that reads every compression, as this machine's own need not."""
    libraries = of("forky") / "lib"
    loader = str(libraries / "ld-linux-x86-64.so.2")
    run(loader, "--library-path", str(libraries), str(libraries / "makedumpfile"), *arguments)


def _build(suite: str, folder: Path) -> None:
    root, libraries = folder / "root", folder / "lib"
    debian.unpack(f"makedumpfile of {suite}", suite, root, ["makedumpfile"])
    # before Debian merged them, the C library's packages put files in /lib, others in /usr/lib
    folders = [root / name / "x86_64-linux-gnu" for name in ("usr/lib", "lib")]
    search_path = ":".join(str(folder) for folder in folders)
    loader = next(path for path in (folder / "ld-linux-x86-64.so.2" for folder in folders) if path.exists())
    program = root / "usr/bin/makedumpfile"
    needed = run(str(loader), "--library-path", search_path, "--list", str(program))
    found = [Path(line.split()[2]) for line in needed.splitlines() if str(root) in line]
    libraries.mkdir()
    for file in (program, *found):
        shutil.copy(file, libraries / file.name)
    (folder / "makedumpfile").write_text(START)
    (folder / "makedumpfile").chmod(0o755)
    shutil.rmtree(root)
