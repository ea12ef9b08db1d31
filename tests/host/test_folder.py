"""Files on disk: whole or not at all, and never anywhere but in their folder."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from kdumpd.errors import StorageError
from kdumpd.host.folder import Folder, read_small


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    opened = Folder.open(str(tmp_path))
    yield opened
    opened.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_has_its_content_mode_and_time(folder: Folder, tmp_path: Path) -> None:
    old_mask = os.umask(0o077)
    try:
        folder.write("boot-reason", b"why\n", mode=0o644, mtime_s=1795398039)
    finally:
        os.umask(old_mask)
    file = tmp_path / "boot-reason"
    assert file.read_bytes() == b"why\n"
    assert mode(file) == 0o644
    assert file.stat().st_mtime == 1795398039
    assert os.listdir(tmp_path) == ["boot-reason"]


def test_until_it_is_published_a_file_has_another_name(folder: Folder, tmp_path: Path) -> None:
    file = folder.create("a.dump", mode=0o600)
    os.write(file.fd, b"half")
    assert os.listdir(tmp_path) == [file.temporary_name] == [".kdumpd-a.dump.1.tmp"]
    folder.publish(file)
    os.close(file.fd)
    assert os.listdir(tmp_path) == ["a.dump"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(folder: Folder, tmp_path: Path) -> None:
    folder.write("reason", b"old", mode=0o644)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            folder.write("reason", b"new", mode=0o644)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["reason"]
    assert (tmp_path / "reason").read_bytes() == b"old"


def test_a_folder_in_the_way_is_moved_aside_with_what_is_in_it(folder: Folder, tmp_path: Path) -> None:
    name = "reboot-reason"
    for content in (b"one", b"two"):
        (tmp_path / "reboot-reason").unlink(missing_ok=True)
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(content)
        folder.write("reboot-reason", b"panic\n", mode=0o644)
    assert (tmp_path / "reboot-reason").read_bytes() == b"panic\n"
    assert (tmp_path / f"{name}.moved-1" / "file").read_bytes() == b"one"
    assert (tmp_path / f"{name}.moved-2" / "file").read_bytes() == b"two"


def test_a_link_is_replaced_and_its_target_left_alone(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"customer")
    (tmp_path / "reboot-reason").symlink_to(outside)
    (tmp_path / ".kdumpd-reboot-reason.1.tmp").symlink_to(outside)
    folder.write("reboot-reason", b"panic\n", mode=0o644)
    assert outside.read_bytes() == b"customer"
    assert not (tmp_path / "reboot-reason").is_symlink()


def test_a_subfolder_is_made_private(folder: Folder, tmp_path: Path) -> None:
    folder.subfolder("kcrashes").close()
    assert mode(tmp_path / "kcrashes") == 0o700
    (tmp_path / "kcrashes").chmod(0o777)
    folder.subfolder("kcrashes").close()
    assert mode(tmp_path / "kcrashes") == 0o700


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_something_else_in_a_subfolders_place_is_refused(folder: Folder, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "kcrashes"
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        path.write_bytes(b"")
    else:
        path.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    with pytest.raises(StorageError, match=r"kcrashes is not a folder"):
        folder.subfolder("kcrashes")
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_link_or_a_missing_folder_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="is not a folder"):
        Folder.open(str(tmp_path / "link"))
    with pytest.raises(StorageError, match="does not exist"):
        Folder.open(str(tmp_path / "missing"))


def test_an_open_folder_follows_its_directory_not_its_path(folder: Folder, tmp_path: Path) -> None:
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    tmp_path.mkdir()
    folder.write("file", b"x", mode=0o600)
    assert os.listdir(moved) == ["file"]
    assert os.listdir(tmp_path) == []


def test_left_overs_are_cleared_and_only_they(folder: Folder, tmp_path: Path) -> None:
    os.close(folder.create("kdump-1.dump", mode=0o600).fd)
    (tmp_path / ".kdumpd-notes").write_bytes(b"")
    (tmp_path / "x.tmp").write_bytes(b"")
    assert folder.clear_temporaries() == (".kdumpd-kdump-1.dump.1.tmp",)
    assert sorted(os.listdir(tmp_path)) == [".kdumpd-notes", "x.tmp"]


def test_the_reserve_takes_room_until_it_is_released(folder: Folder, tmp_path: Path) -> None:
    folder.reserve(256 << 10)
    assert sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir()) >= 256 << 10
    folder.release()
    assert os.listdir(tmp_path) == []


def test_a_probe_leaves_nothing(folder: Folder, tmp_path: Path) -> None:
    folder.probe()
    assert os.listdir(tmp_path) == []


def test_the_mount_id_is_the_one_of_mountinfo(folder: Folder) -> None:
    ids = {int(line.split()[0]) for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    assert folder.mount_id() in ids


def test_a_full_disk_is_survived(fs: FakeFilesystem) -> None:
    fs.create_dir("/persist")
    fs.set_disk_usage(100)
    folder = Folder.open("/persist")
    with pytest.raises(OSError, match="No space"):
        folder.write("reboot-stack", b"x" * 200, mode=0o644)
    folder.write("reboot-reason", b"y" * 50, mode=0o644)
    assert os.listdir("/persist") == ["reboot-reason"]
    folder.close()


def test_a_small_file_is_read_stripped(tmp_path: Path) -> None:
    (tmp_path / "panic").write_bytes(b" -1\n")
    assert read_small(str(tmp_path / "panic")) == "-1"
    assert read_small(str(tmp_path / "none")) is None


def test_two_writes_of_one_file_share_no_temporary_name(folder: Folder, tmp_path: Path) -> None:
    first, second = folder.create("state", mode=0o600), folder.create("state", mode=0o600)
    os.write(first.fd, b"first")
    os.write(second.fd, b"second, whole")
    folder.publish(second)
    assert (tmp_path / "state").read_bytes() == b"second, whole"
    folder.discard(first)
    for file in (first, second):
        os.close(file.fd)
    assert os.listdir(tmp_path) == ["state"]


def test_a_left_over_that_cannot_be_removed_stays_and_costs_nothing(folder: Folder, tmp_path: Path) -> None:
    os.close(folder.create("kdump-1.dump", mode=0o600).fd)

    class Refusing(Folder):
        def remove(self, name: str) -> None:
            raise OSError(1, "Operation not permitted")

    refusing = Refusing(path=folder.path, fd=folder.fd)
    assert refusing.clear_temporaries() == ()
    assert refusing.temporaries() == (".kdumpd-kdump-1.dump.1.tmp",)
