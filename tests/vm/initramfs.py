"""The initramfs of both kernels: busybox, the disk drivers and a script that goes on in the root."""

import lzma
import shutil
from pathlib import Path

from .command import run

INIT = Path(__file__).parent / "guest" / "initramfs"
# virtio disks and squashfs are modules in Debian's cloud kernel, ext4 is built in
MODULES = ("virtio_pci", "virtio_blk", "squashfs")


def make(root: Path, release: str) -> Path:
    """Pack an initramfs from a root's own busybox and modules, with its own tools, as its boot/initrd."""
    tree = root / "initramfs"
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", tree / "bin/busybox")
    shutil.copy(INIT, tree / "init")
    (tree / "init").chmod(0o755)
    order = [_add_module(file, tree / "modules") for file in _modules(root, release)]
    (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
    # no other cpio comes with a root of forky; a pipe would hide that a program is missing
    pack = """
        cd /initramfs
        find . > /tmp/names
        busybox cpio -o -H newc < /tmp/names > /tmp/initrd
        gzip < /tmp/initrd > /boot/initrd
        rm /tmp/names /tmp/initrd
    """
    run("chroot", str(root), "sh", "-euc", pack)
    shutil.rmtree(tree)
    return root / "boot/initrd"


def _modules(root: Path, release: str) -> list[Path]:
    """The module files to load, dependencies first, each once."""
    shown = [run("chroot", str(root), "modprobe", "-S", release, "--show-depends", name) for name in MODULES]
    files = [line.split()[1] for text in shown for line in text.splitlines() if line.startswith("insmod")]
    return [root / file.lstrip("/") for file in dict.fromkeys(files)]


def _add_module(file: Path, folder: Path) -> str:
    """Copy a module unpacked, as busybox can load it; returns its name."""
    data = file.read_bytes()
    name = file.name.removesuffix(".xz")
    (folder / name).write_bytes(lzma.decompress(data) if file.suffix == ".xz" else data)
    return name
