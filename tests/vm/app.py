"""kdumpd on a disk of its own, as pip installs it from a wheel."""

import shutil
import sys
import tomllib
from pathlib import Path

from . import cache, squashfs
from .command import run
from .image import image

REPOSITORY = Path(__file__).parents[2]
CONSTRAINTS = REPOSITORY / "constraints.txt"
METADATA = (REPOSITORY / "pyproject.toml", CONSTRAINTS, Path(__file__))
PROGRAM = """#!/usr/bin/python3
import sys
from kdumpd.cli import main
sys.exit(main())
"""


def disk(suite: str) -> Path:
    """The disk for a suite's Python; made anew when kdumpd's source has changed. Needs root."""
    root = image(suite).root
    sources = cache.tree_digest(REPOSITORY / "src", "*.py")
    recipe = cache.digest(sources, root.parent.name, *(file.read_bytes() for file in METADATA))
    return cache.entry(f"app-{recipe}", lambda folder: _build(folder, root)) / "app.squashfs"


def _build(folder: Path, root: Path) -> None:
    tree = folder / "app"
    shutil.copytree(_dependencies(), tree / "lib", ignore=shutil.ignore_patterns("bin"))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY))
    _pip_install(tree / "lib", "--no-deps", *map(str, folder.glob("*.whl")))
    shutil.rmtree(tree / "lib/bin")
    (tree / "bin").mkdir()
    (tree / "bin/kdumpd").write_text(PROGRAM)
    (tree / "bin/kdumpd").chmod(0o755)
    _compile(tree, root)
    squashfs.pack(tree, folder / "app.squashfs")
    shutil.rmtree(tree)


def _dependencies() -> Path:
    """What kdumpd imports; all of it pure Python, so one folder serves every Python."""
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    name = f"dependencies-{cache.digest(CONSTRAINTS.read_bytes(), *wanted)}"
    return cache.entry(name, lambda folder: _pip_install(folder, *wanted))


def _pip_install(folder: Path, *what: str) -> None:
    options = ["--quiet", "--root-user-action=ignore", "--no-compile", "--constraint", str(CONSTRAINTS)]
    run(sys.executable, "-m", "pip", "install", *options, "--target", str(folder), *what)


def _compile(tree: Path, root: Path) -> None:
    """Byte-compile with the guest's own Python, in a mount namespace whose mounts end with it."""
    mounts = 'mount -o loop,ro "$1" /mnt && mount --bind "$2" /mnt/app'
    script = f"{mounts} && exec chroot /mnt python3 -m compileall -q /app/lib"
    run("unshare", "--mount", "sh", "-c", script, "sh", str(root), str(tree))
