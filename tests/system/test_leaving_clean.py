"""A file system left clean through a bind mount of it in a container; and one that the host writes to."""

import subprocess
import sys
from pathlib import Path

import pytest

from kdumpd.host.mounts import find_mount, read_mounts

from .volume import Volume

pytestmark = pytest.mark.system

BUSY = "Device or resource busy"
# A container: a mount namespace of its own, in which persist is a bind mount.
CONTAINER = 'mount --bind "$1" "$2" && cd "$3" && shift 3 && exec "$@"'
MAKE_CLEAN = """
import sys
from kdumpd.host.mounts import find_mount, read_mounts
from kdumpd.host.reboot import make_clean
print(make_clean(sys.argv[1]))
print("mounted" if find_mount(read_mounts(), sys.argv[1]) else "unmounted")
"""


def make_clean_in_container(volume: Volume, bind: Path, *, standing_in: Path) -> list[str]:
    """What make_clean says there, and whether the bind mount is still there after it."""
    program = [sys.executable, "-c", MAKE_CLEAN, str(bind)]
    folders = [str(volume.mountpoint), str(bind), str(standing_in)]
    script = ["sh", "-c", CONTAINER, "sh", *folders, *program]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def read_only(volume: Volume) -> bool:
    mount = find_mount(read_mounts(), str(volume.mountpoint))
    assert mount is not None
    return "ro" in mount.super_options


@pytest.fixture
def bind(volume: Volume, tmp_path: Path) -> Path:
    volume.mount()
    folder = tmp_path / "persist-in-container"
    folder.mkdir()
    return folder


def test_through_a_bind_mount_the_file_system_itself_is_made_clean(volume: Volume, bind: Path) -> None:
    assert make_clean_in_container(volume, bind, standing_in=Path("/")) == ["None", "unmounted"]
    assert read_only(volume)


def test_a_file_system_that_the_host_writes_to_is_not_clean_though_it_is_unmounted(
    volume: Volume, bind: Path
) -> None:
    with (volume.mountpoint / "log").open("wb", buffering=0) as log:
        said = make_clean_in_container(volume, bind, standing_in=Path("/"))
        assert said == [f"{BUSY}; it is unmounted here and stays writable elsewhere", "unmounted"]
        assert not read_only(volume)
        assert log.write(b"still written\n") == 14


def test_one_that_is_in_use_here_as_well_stays_mounted(volume: Volume, bind: Path) -> None:
    with (volume.mountpoint / "log").open("wb"):
        assert make_clean_in_container(volume, bind, standing_in=bind) == [BUSY, "mounted"]
        assert not read_only(volume)


def test_one_that_is_only_read_here_is_clean_and_stays_mounted(volume: Volume, bind: Path) -> None:
    assert make_clean_in_container(volume, bind, standing_in=bind) == ["None", "mounted"]
    assert read_only(volume)
