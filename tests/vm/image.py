"""What a guest boots from: a suite's kernel, initramfs and root."""

import shutil
from pathlib import Path

import attrs

from . import cache, debian, initramfs, squashfs

HERE = Path(__file__).parent
MODULES = HERE / "modules"
RECIPE = [HERE / name for name in ("image.py", "debian.py", "initramfs.py", "guest/initramfs")]
PACKAGES = (
    "linux-image-cloud-amd64",
    "kexec-tools",
    "makedumpfile",
    "runc",
    "busybox-static",
    "dmsetup",
    "e2fsprogs",
    "mount",
    "udev",
)
FOLDERS = ("app", "scenario", "persist")
BIND_TARGETS = ("etc/kdumpd.toml", "etc/init.d/000-kexec")


@attrs.frozen(kw_only=True)
class Image:
    """A suite's guest: files for QEMU, and the kernel's release."""

    kernel: Path
    initramfs: Path
    root: Path
    release: str


def image(suite: str) -> Image:
    """The guest of a Debian suite, built on first use. Needs root."""
    recipe = [file.read_bytes() for file in RECIPE]
    path = cache.entry(f"image-{suite}-{cache.digest(*recipe)}", lambda folder: _build(suite, folder))
    return Image(
        kernel=path / "vmlinuz",
        initramfs=path / "initrd",
        root=path / "root.squashfs",
        release=(path / "release").read_text(),
    )


def _build(suite: str, folder: Path) -> None:
    root = folder / "root"
    debian.install(f"the guest: Debian {suite}", suite, root, PACKAGES)
    release = next((root / "lib/modules").iterdir()).name
    (folder / "release").write_text(release)
    _furnish(root)
    (root / f"boot/vmlinuz-{release}").rename(root / "boot/vmlinuz")
    shutil.copy(root / "boot/vmlinuz", folder / "vmlinuz")
    shutil.copy(initramfs.make(root, release), folder / "initrd")
    squashfs.pack(root, folder / "root.squashfs")
    shutil.rmtree(root)


def _furnish(root: Path) -> None:
    """Add what is mounted over in a guest, a way to kdumpd on its disk."""
    for name in FOLDERS:
        (root / name).mkdir()
    for name in BIND_TARGETS:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    (root / "usr/bin/kdumpd").symlink_to("/scenario/kdumpd")
