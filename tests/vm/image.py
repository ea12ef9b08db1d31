"""What a guest boots from: a suite's kernel, initramfs and root, and kdumpd on a disk of its own."""

import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

from . import cache

REPOSITORY = Path(__file__).parents[2]
GUEST = Path(__file__).parent / "guest"
PACKAGES = (
    "linux-image-cloud-amd64",
    "kexec-tools",
    "makedumpfile",
    "busybox-static",
    "python3",
    "e2fsprogs",
    "mount",
    "udev",
)
# virtio disks and squashfs are modules in Debian's cloud kernel, ext4 is built in
MODULES = ("virtio_pci", "virtio_blk", "squashfs")
MOUNTPOINTS = ("app", "scenario", "persist")
USELESS = ("doc", "man", "locale", "i18n", "info")


@attrs.frozen(kw_only=True)
class Image:
    """A suite's guest: files for QEMU."""

    kernel: Path
    initramfs: Path
    root: Path


def image(suite: str) -> Image:
    """The guest of a Debian suite, built by mmdebstrap on first use. Needs root."""
    recipe = cache.digest(Path(__file__).read_bytes(), (GUEST / "initramfs").read_bytes())
    path = cache.entry(f"image-{suite}-{recipe}", lambda folder: _build(suite, folder))
    return Image(kernel=path / "vmlinuz", initramfs=path / "initrd", root=path / "root.squashfs")


def _build(suite: str, folder: Path) -> None:
    root = folder / "root"
    _bootstrap(suite, root)
    release = next((root / "lib/modules").iterdir()).name
    shutil.copy(root / f"boot/vmlinuz-{release}", folder / "vmlinuz")
    (folder / "initrd").write_bytes(_initramfs(root, release))
    _furnish(root, folder)
    squash(root, folder / "root.squashfs")
    shutil.rmtree(root)


def _bootstrap(suite: str, root: Path) -> None:
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in USELESS]
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        *excludes,
        suite,
        str(root),
    ]
    # initramfs-tools comes with the kernel; its initramfs is not used
    _run(*command, INITRD="No")


def _initramfs(root: Path, release: str) -> bytes:
    """A cpio archive of busybox, modules in loading order and our init, packed by the root's own tools."""
    work = root / "initramfs"
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        (work / name).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", work / "bin/busybox")
    shutil.copy(GUEST / "initramfs", work / "init")
    (work / "init").chmod(0o755)
    order = [_add_module(file, work / "modules") for file in _module_files(root, release)]
    (work / "modules/order").write_text("".join(f"{name}\n" for name in order))
    pack = "cd /initramfs && find . | cpio --quiet -o -H newc | gzip > /boot/initrd"
    _run("chroot", str(root), "sh", "-euc", pack)
    shutil.rmtree(work)
    return (root / "boot/initrd").read_bytes()


def _add_module(file: Path, folder: Path) -> str:
    """Copy a module as the kernel itself can load it, unpacked; returns its name."""
    data = file.read_bytes()
    name = file.name.removesuffix(".xz")
    (folder / name).write_bytes(lzma.decompress(data) if file.suffix == ".xz" else data)
    return name


def _module_files(root: Path, release: str) -> list[Path]:
    """The module files to load, dependencies first, each once."""
    shown = [_run("chroot", str(root), "modprobe", "-S", release, "--show-depends", name) for name in MODULES]
    files = [line.split()[1] for text in shown for line in text.splitlines() if line.startswith("insmod")]
    return [root / file.lstrip("/") for file in dict.fromkeys(files)]


def _furnish(root: Path, folder: Path) -> None:
    """Add what a scenario mounts over, and the kernel for kexec."""
    for name in MOUNTPOINTS:
        (root / name).mkdir()
    for file in (root / "boot").iterdir():
        file.unlink()
    shutil.copy(folder / "vmlinuz", root / "boot/vmlinuz")
    shutil.copy(folder / "initrd", root / "boot/initrd")
    (root / "etc/kdumpd.toml").touch()
    (root / "usr/bin/kdumpd").symlink_to("/app/bin/kdumpd")
    (root / "usr/lib/python3/dist-packages/kdumpd-app.pth").write_text("/app/lib\n")


def app(suite: str) -> Path:
    """A disk with kdumpd and what it imports, as pip installs it from a wheel."""
    sources = cache.tree_digest(REPOSITORY / "src", "*.py")
    metadata = [(REPOSITORY / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    recipe = cache.digest(sources, *metadata, Path(__file__).read_bytes())
    root = image(suite).root
    return cache.entry(f"app-{suite}-{recipe}", lambda folder: _build_app(folder, root)) / "app.squashfs"


def _build_app(folder: Path, root: Path) -> None:
    tree = folder / "app"
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY))
    wheel = next(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--no-compile"]
    _run(*pip, "--target", str(tree / "lib"), "--constraint", str(REPOSITORY / "constraints.txt"), str(wheel))
    shutil.rmtree(tree / "lib/bin")
    (tree / "bin").mkdir()
    (tree / "bin/kdumpd").write_text(
        "#!/usr/bin/python3\nimport sys\nfrom kdumpd.cli import main\nsys.exit(main())\n"
    )
    (tree / "bin/kdumpd").chmod(0o755)
    _compile(tree, root)
    squash(tree, folder / "app.squashfs")
    shutil.rmtree(tree)


def _compile(tree: Path, root: Path) -> None:
    """Byte-compile with the guest's own Python, in a mount namespace whose mounts end with it."""
    mounts = 'mount -o loop,ro "$1" /mnt && mount --bind "$2" /mnt/app'
    script = f"{mounts} && exec chroot /mnt python3 -m compileall -q /app/lib"
    _run("unshare", "--mount", "sh", "-c", script, "sh", str(root), str(tree))


def squash(tree: Path, disk: Path) -> None:
    """Make a squashfs of a folder; lz4, as the guest unpacks it with an emulated processor."""
    _run("mksquashfs", str(tree), str(disk), "-comp", "lz4", "-quiet", "-no-progress", "-all-root")


def _run(*command: str, **variables: str) -> str:
    """Run a program to its end and return its output. Raises RuntimeError with all of it if it fails."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}")
    return result.stdout
