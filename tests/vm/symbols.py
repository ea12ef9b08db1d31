"""A guest kernel's debug symbols: vmlinux out of Debian's own package, and the test modules beside it."""

import os
import shutil
from pathlib import Path

from . import cache, debian
from .command import step
from .image import image
from .modules import modules


def symbols(suite: str) -> Path:
    """A folder with a suite's vmlinux and the crashing modules, all with debug symbols."""
    path = kernel_symbols(suite)
    for module in modules(suite).glob("*.ko"):
        # another test may look at the folder meanwhile
        link = path / f"{module.name}.{os.getpid()}"
        link.symlink_to(module)
        link.replace(path / module.name)
    return path


def kernel_symbols(suite: str) -> Path:
    """A folder with a suite's vmlinux, 590 MB, from a package of 283 MB that is downloaded on first use."""
    release = image(suite).release
    return cache.entry(f"symbols-{release}", lambda folder: _fetch(suite, release, folder))


def known(suite: str) -> bool:
    """Whether a suite's symbols have been downloaded."""
    return (cache.home() / f"symbols-{image(suite).release}").exists()


def _fetch(suite: str, release: str, folder: Path) -> None:
    package = f"linux-image-{release}-dbg"
    file = debian.download("the kernel's debug symbols", suite, package, folder / "apt")
    member = f"./usr/lib/debug/boot/vmlinux-{release}"
    script = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" --strip-components 5 "$3"'
    unpack = ["bash", "-o", "pipefail", "-c", script, "bash", str(file), str(folder), member]
    step("the kernel's debug symbols, unpacked", *unpack)
    shutil.rmtree(folder / "apt")
