"""A guest kernel's debug symbols: vmlinux out of Debian's own package, and the test modules beside it."""

import os
import shutil
from pathlib import Path

from . import cache, debian
from .command import step
from .image import image
from .modules import modules


def symbols(suite: str) -> Path:
    """A folder with a suite's vmlinux, 590 MB, and the crashing modules, all with debug symbols."""
    path = vmlinux(suite).parent
    for module in modules(suite).glob("*.ko"):
        # another test may look at the folder meanwhile
        link = path / f"{module.name}.{os.getpid()}"
        link.symlink_to(module)
        link.replace(path / module.name)
    return path


def vmlinux(suite: str) -> Path:
    """A suite's kernel with debug symbols, 590 MB, out of a package of 283 MB, downloaded on first use."""
    release = image(suite).release
    folder = cache.entry(f"symbols-{release}", lambda folder: _fetch(suite, release, folder))
    return folder / f"vmlinux-{release}"


def known(suite: str) -> bool:
    """Whether a suite's symbols have been downloaded."""
    return (cache.home() / f"symbols-{image(suite).release}").exists()


def _fetch(suite: str, release: str, folder: Path) -> None:
    package = f"linux-image-{release}-dbg"
    file = debian.download("the kernel's debug symbols", suite, package, folder / "apt")
    # in newer packages the kernel lies with its modules, and a link leads there
    script = (
        'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" --transform "s,.*/,," --wildcards "$3"'
    )
    unpack = ["bash", "-o", "pipefail", "-c", script, "bash", str(file), str(folder), "*/vmlinux*"]
    step("the kernel's debug symbols, unpacked", *unpack)
    shutil.rmtree(folder / "apt")
    if (folder / "vmlinux").exists():
        (folder / "vmlinux").replace(folder / f"vmlinux-{release}")
