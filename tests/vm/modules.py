"""Kernel modules that crash the kernel which loads them."""

import shutil
from pathlib import Path

from . import cache, debian
from .command import step
from .image import image

SOURCES = Path(__file__).parent / "crashers"


def source(trigger: str) -> Path:
    """The source of the module that a trigger loads, if it loads one."""
    return SOURCES / f"{trigger.replace('-', '_')}.c"


def modules(suite: str) -> Path:
    """A folder with the modules for a suite's kernel, built on first use. Needs root."""
    release = image(suite).release
    name = f"modules-{release}-{cache.digest(cache.tree_digest(SOURCES), Path(__file__).read_bytes())}"
    return cache.entry(name, lambda folder: _build(suite, release, folder))


def _build(suite: str, release: str, folder: Path) -> None:
    root = folder / "root"
    # the compiler comes along: headers depend on the one that built their kernel
    debian.install("a compiler for modules", suite, root, [f"linux-headers-{release}", "make"])
    shutil.copytree(SOURCES, root / "usr/src/crashers")
    build = ["make", "-C", f"/lib/modules/{release}/build", "M=/usr/src/crashers", "modules"]
    step("modules that crash their kernel", "chroot", str(root), *build)
    for module in (root / "usr/src/crashers").glob("*.ko"):
        shutil.copy(module, folder)
    shutil.rmtree(root)
