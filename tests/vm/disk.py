"""The persist disk: GPT with one partition P3, written by the guest, read from outside without a mount."""

import subprocess
from pathlib import Path

import attrs

START_BYTES = 1 << 20  # where P3 begins
END_BYTES = 1 << 20  # room for the second partition table


@attrs.frozen(kw_only=True)
class PersistDisk:
    """A raw disk image in a file."""

    path: Path

    @property
    def volume(self) -> str:
        """P3 as e2fsprogs name a file system within a file."""
        return f"{self.path}?offset={START_BYTES}"

    def extract(self, folder: Path) -> Path:
        """Copy all files of P3 into a new folder, with modes and times; the disk itself is not touched."""
        folder.mkdir()
        subprocess.run(["debugfs", "-R", f'rdump / "{folder}"', self.volume], check=True, capture_output=True)
        return folder

    def fault(self) -> str:
        """What fsck finds wrong with P3, the way a boot asks; empty when it was left clean."""
        result = subprocess.run(["e2fsck", "-n", self.volume], check=False, capture_output=True, text=True)
        clean = result.returncode == 0 and "recovering journal" not in result.stdout
        return "" if clean else result.stdout + result.stderr


def make(path: Path, *, size_bytes: int, filesystem: str) -> PersistDisk:
    """Make a sparse disk image with an empty file system on P3."""
    with path.open("xb") as file:
        file.truncate(size_bytes)
    table = f"label: gpt\nstart={START_BYTES // 512}, name=P3\n"
    subprocess.run(["sfdisk", "--quiet", str(path)], input=table, text=True, check=True, capture_output=True)
    kib = (size_bytes - START_BYTES - END_BYTES) // 1024
    options = ["-q", "-F", "-E", f"offset={START_BYTES},root_owner=0:0"]
    subprocess.run([f"mkfs.{filesystem}", *options, str(path), f"{kib}k"], check=True, capture_output=True)
    return PersistDisk(path=path)
