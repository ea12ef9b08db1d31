"""A guest kernel's debug symbols: vmlinux out of Debian's own package, and the test modules beside it."""

import os
import tempfile
from pathlib import Path

from . import cache, debian
from .command import run
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
    """A suite's kernel with debug symbols. The package is 283 MB to download on first use."""
    release = image(suite).release
    folder = cache.entry(f"symbols-{release}", lambda folder: _fetch(suite, release, folder))
    return folder / f"vmlinux-{release}"


def _fetch(suite: str, release: str, folder: Path) -> None:
    file = _download(suite, f"linux-image-{release}-dbg", folder)
    # in newer packages the kernel lies with its modules, and a link leads there
    script = (
        'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" --transform "s,.*/,," --wildcards "$3"'
    )
    run("bash", "-o", "pipefail", "-c", script, "bash", str(file), str(folder), "*/vmlinux*")
    file.unlink()
    if (folder / "vmlinux").exists():
        (folder / "vmlinux").replace(folder / f"vmlinux-{release}")


def _download(suite: str, package: str, folder: Path) -> Path:
    """One package of a suite, without what it depends on; this machine's own lists stay as they are."""
    with tempfile.TemporaryDirectory(prefix="kdumpd-apt-") as work:
        sources = Path(work) / "sources.list"
        sources.write_text("\n".join(debian._sources(suite)))
        for name in ("state/lists/partial", "cache/archives/partial"):
            (Path(work) / name).mkdir(parents=True)
        places = {
            "Dir::State": f"{work}/state",
            "Dir::Cache": f"{work}/cache",
            "Dir::Etc::sourcelist": str(sources),
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "--quiet", *(f"--option={key}={value}" for key, value in places.items())]
        run(*apt, "update")
        run("env", "--chdir", str(folder), *apt, "download", package)
    (file,) = folder.glob("*.deb")
    return file
