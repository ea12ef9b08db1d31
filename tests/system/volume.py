"""A real ext4 on a loop device, at a mount point of its own: to fill, freeze, take away and look at."""

import subprocess
from pathlib import Path

import attrs

MIB = 1 << 20


def command(*words: str | Path, check: bool = True) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=60, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


@attrs.define
class Volume:
    """A disk image with an ext4, attached to a loop device and perhaps mounted.

    Attributes:
        image: the disk image.
        device: the loop device; empty while detached.
        mountpoint: where it is mounted.
    """

    image: Path
    mountpoint: Path
    device: str = ""
    frozen: bool = False

    @classmethod
    def make(cls, folder: Path, *, size_bytes: int = 512 * MIB) -> "Volume":
        """Make the image and its file system and attach it; not mounted yet."""
        volume = cls(image=folder / "volume.img", mountpoint=folder / "persist")
        volume.mountpoint.mkdir()
        with volume.image.open("wb") as file:
            file.truncate(size_bytes)
        command("mkfs.ext4", "-q", "-E", "nodiscard", volume.image)
        volume.device = command("losetup", "--find", "--show", volume.image)
        return volume

    def mount(self, options: str = "noatime") -> None:
        """Mount it; `remount,ro` and the like work as options too."""
        source = [] if options.startswith("remount") else [self.device]
        command("mount", "-o", options, *source, self.mountpoint)

    def unmount(self, *options: str) -> None:
        """Unmount the topmost mount there."""
        command("umount", *options, self.mountpoint)

    def freeze(self) -> None:
        """Make every write hang until `thaw`."""
        command("fsfreeze", "--freeze", self.mountpoint)
        self.frozen = True

    def thaw(self) -> None:
        """Let writes go on."""
        if self.frozen:
            command("fsfreeze", "--unfreeze", self.mountpoint)
            self.frozen = False

    def remove(self) -> None:
        """Leave nothing behind."""
        self.thaw()
        while self.mountpoint.is_mount():
            self.unmount("--lazy")
        if self.device:
            command("losetup", "--detach", self.device)
            self.device = ""
