"""P3 on the host: a device, checked as EVE's next boot checks it, and mounted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .command import run
from .disk import START_BYTES, PersistDisk


@contextmanager
def attached(persist: PersistDisk) -> Iterator[str]:
    """P3 as a loop device. Needs root."""
    losetup = ["losetup", "--find", "--show", "--offset", str(START_BYTES), str(persist.path)]
    device = run(*losetup).strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(device: str, options: str) -> Iterator[Path]:
    """A device mounted in a folder of its own."""
    with TemporaryDirectory() as folder:
        run("mount", "-o", options, device, folder)
        try:
            yield Path(folder)
        finally:
            run("umount", folder)


@contextmanager
def opened(persist: PersistDisk, options: str) -> Iterator[Path]:
    """The files of P3."""
    with attached(persist) as device, mounted(device, options) as root:
        yield root


@contextmanager
def next_boot(persist: PersistDisk) -> Iterator[Path]:
    """The files of P3 as the next boot finds them; fsck must pass, or EVE would make the file system anew."""
    with attached(persist) as device:
        code, text = e2fsck("-y", device)
        assert code == 0, text
        with mounted(device, "noatime") as root:
            yield root


def e2fsck(option: str, device: str) -> tuple[int, str]:
    """Check a file system; returns the exit code and what was said."""
    command = ["e2fsck", option, device]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout
