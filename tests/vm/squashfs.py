"""Read-only disks for a guest."""

from pathlib import Path

from .command import run


def pack(tree: Path, disk: Path) -> Path:
    """Make a disk of a folder; lz4, as the guest unpacks it with an emulated processor."""
    run("mksquashfs", str(tree), str(disk), "-comp", "lz4", "-quiet", "-no-progress", "-all-root")
    return disk
