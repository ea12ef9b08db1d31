"""Files on disk: whole or not at all, and never anywhere but in their folder."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from kdumpd.errors import StorageError
from kdumpd.host.folder import (
    REASON_BYTES,
    Folder,
    Reasons,
    commit_reasons,
    read_small,
    temporary_name,
)


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
    fd = folder.create("a.dump", mode=0o600)
    os.write(fd, b"half")
    assert os.listdir(tmp_path) == [temporary_name("a.dump")]
    folder.publish(fd, "a.dump")
    os.close(fd)
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


@pytest.mark.parametrize("name", ["reboot-reason", temporary_name("reboot-reason")])
def test_a_folder_in_the_way_is_moved_aside_with_what_is_in_it(
    folder: Folder, tmp_path: Path, name: str
) -> None:
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
    (tmp_path / temporary_name("reboot-reason")).symlink_to(outside)
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
    os.close(folder.create("kdump-1.dump", mode=0o600))
    (tmp_path / ".kdumpd-notes").write_bytes(b"")
    (tmp_path / "x.tmp").write_bytes(b"")
    assert folder.clear_temporaries() == (temporary_name("kdump-1.dump"),)
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


def test_the_reason_set(folder: Folder, tmp_path: Path) -> None:
    commit_reasons(folder, Reasons(stack=b"log\n", line="kernel panic, x", crash_time_s=1795398039))
    assert (tmp_path / "reboot-stack").read_bytes() == b"log\n"
    assert (tmp_path / "boot-reason").read_bytes() == b"BootReasonKernel\n"
    assert (tmp_path / "boot-reason").stat().st_mtime == 1795398039
    assert (tmp_path / "reboot-reason").read_bytes() == b"kernel panic, x\n"
    assert {mode(file) for file in tmp_path.iterdir()} == {0o644}


def test_a_second_verdict_changes_the_line_alone(folder: Folder, tmp_path: Path) -> None:
    commit_reasons(folder, Reasons(stack=b"log\n", line="first", crash_time_s=5))
    commit_reasons(folder, Reasons(stack=None, line="second", crash_time_s=5))
    assert (tmp_path / "reboot-reason").read_bytes() == b"second\n"
    assert (tmp_path / "reboot-stack").read_bytes() == b"log\n"


def test_a_line_too_long_for_eves_reader_is_cut(folder: Folder, tmp_path: Path) -> None:
    commit_reasons(folder, Reasons(stack=b"", line="x" * 20000, crash_time_s=None))
    content = (tmp_path / "reboot-reason").read_bytes()
    assert len(content) == REASON_BYTES
    assert content.endswith(b"x\n")


class Recording(Folder):
    """A folder that notes the order in which names appear, and fails at a chosen one."""

    fails_at = ""
    seen: list[str]

    def publish(self, fd: int, name: str) -> None:
        if name == self.fails_at:
            raise OSError(28, "No space left on device")
        self.seen.append(name)
        super().publish(fd, name)


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    opened = Recording.open(str(tmp_path))
    Recording.seen = []
    Recording.fails_at = ""
    yield opened
    opened.close()


def test_reboot_reason_comes_last(recording: Recording) -> None:
    commit_reasons(recording, Reasons(stack=b"log\n", line="why", crash_time_s=None))
    assert recording.seen == ["reboot-stack", "boot-reason", "reboot-reason"]


@pytest.mark.parametrize("name", ["reboot-stack", "boot-reason", "reboot-reason"])
def test_an_old_reason_never_stands_beside_a_new_stack(
    recording: Recording, tmp_path: Path, name: str
) -> None:
    (tmp_path / "reboot-reason").write_bytes(b"an older panic\n")
    Recording.fails_at = name
    with pytest.raises(OSError, match="No space"):
        commit_reasons(recording, Reasons(stack=b"new\n", line="new", crash_time_s=None))
    assert not (tmp_path / "reboot-reason").exists()
    assert not [file for file in os.listdir(tmp_path) if file.startswith(".kdumpd-")]


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
