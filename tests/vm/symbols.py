"""A guest kernel's debug symbols: vmlinux out of Debian's own package, and the test modules beside it."""

import os
import subprocess
from pathlib import Path

from . import cache
from .command import run
from .image import image
from .modules import modules


def symbols(suite: str) -> Path:
    """A folder with a suite's vmlinux, 590 MB, and the crashing modules, all with debug symbols.

    The package is of this machine's own suite, and 283 MB to download on first use.
    """
    release = image(suite).release
    path = cache.entry(f"symbols-{release}", lambda folder: _fetch(release, folder))
    for module in modules(suite).glob("*.ko"):
        # another test may look at the folder meanwhile
        link = path / f"{module.name}.{os.getpid()}"
        link.symlink_to(module)
        link.replace(path / module.name)
    return path


def _fetch(release: str, folder: Path) -> None:
    package = f"linux-image-{release}-dbg"
    subprocess.run(["apt-get", "--quiet", "download", package], cwd=folder, check=True, capture_output=True)
    (file,) = folder.glob("*.deb")
    member = f"./usr/lib/debug/boot/vmlinux-{release}"
    script = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" --strip-components 5 "$3"'
    run("bash", "-o", "pipefail", "-c", script, "bash", str(file), str(folder), member)
    file.unlink()
