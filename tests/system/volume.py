"""A real ext4 on a loop device, at a mount point of its own: to fill, freeze, take away and look at."""

import contextlib
import os
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


def tree(folder: Path) -> dict[str, bytes]:
    """Name and content of every file in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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

    def floor_mib(self) -> int:
        """What `storage.min_free_bytes = "auto"` asks to be left free, in MiB."""
        room = os.statvfs(self.mountpoint)
        return min(4 << 30, room.f_blocks * room.f_frsize // 4) // MIB

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all room that root can have, but so many bytes, with a file named `filler`."""
        with (self.mountpoint / "filler").open("wb") as file:
            size_bytes = 0
            for step in (64 * MIB, MIB, 64 << 10, 4 << 10):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), size_bytes, step)
                        size_bytes += step
            file.truncate(size_bytes - leave_bytes)
            os.fsync(file.fileno())

    def unfill(self) -> None:
        """Take the filler away."""
        (self.mountpoint / "filler").unlink()

    def format(self, *options: str) -> None:
        """Make the file system anew, while it is not mounted."""
        command("mkfs.ext4", "-q", "-F", "-E", "nodiscard", *options, self.device)

    def break_file_system(self) -> None:
        """Have ext4 find an error in itself."""
        Path("/sys/fs/ext4", Path(self.device).name, "trigger_fs_error").write_text("a test\n")

    def attach(self, image: Path) -> None:
        """Put the loop device on this file."""
        self.detach()
        self.device = command("losetup", "--find", "--show", image)

    def detach(self) -> None:
        """Let go of the loop device."""
        if self.device:
            command("losetup", "--detach", self.device)
            self.device = ""

    def recover(self) -> None:
        """Do what the next boot does after a disk failed: check the file system, mount it."""
        self.unmount("--lazy")
        self.attach(self.image)
        command("e2fsck", "-f", "-y", self.device, check=False)
        self.mount()

    def remove(self) -> None:
        """Leave nothing behind."""
        self.thaw()
        while self.mountpoint.is_mount():
            self.unmount("--lazy")
        self.detach()
        self.image.unlink(missing_ok=True)
