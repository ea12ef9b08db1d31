"""Bundles: what goes in comes out, and nothing of a hostile one leaves its folder."""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard
from tests import crashfiles

from kdumpd.crashes import archive, bundle
from kdumpd.crashes.inventory import read_folder
from kdumpd.errors import FormatError, KdumpError, StorageError

RECORD = "crash-20261123T014039Z.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "kcrashes"
    path.mkdir()
    crashfiles.leave(path)
    return path


def export(folder: Path, name: str = "crash.tar.zst") -> Path:
    target = folder.parent / name
    bundle.export(read_folder(folder)[0], target)
    return target


@pytest.mark.parametrize("name", ["crash.tar.zst", "crash.tar"])
def test_a_bundle_gives_back_every_byte(folder: Path, name: str) -> None:
    path = export(folder, name)
    assert archive.is_archive(path)
    with bundle.opened(path) as inside:
        assert {p.name: p.read_bytes() for p in inside.iterdir()} == {
            p.name: p.read_bytes() for p in folder.iterdir()
        }
    assert not inside.exists()


def test_a_bundle_is_private_and_says_nothing_of_who_packed_it(folder: Path) -> None:
    path = export(folder, "crash.tar")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as tar:
        assert {(m.uid, m.gid, m.uname, m.mtime, m.mode) for m in tar} == {(0, 0, "", 0, 0o600)}
        assert tar.getnames()[0] == "manifest.json"


def test_the_manifest_has_checksums(folder: Path) -> None:
    with tarfile.open(export(folder, "crash.tar")) as tar:
        content = tar.extractfile("manifest.json")
        assert content is not None
        manifest = json.load(content)
    assert manifest["schema"] == 1
    assert manifest["stamp"] == read_folder(folder)[0].stamp
    for entry in manifest["files"]:
        data = (folder / entry["name"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["size_bytes"] == len(data)


def test_common_tools_read_a_bundle(folder: Path) -> None:
    data = zstandard.ZstdDecompressor().decompressobj().decompress(export(folder).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getnames()) == 4


def test_a_bundle_is_not_overwritten(folder: Path) -> None:
    path = export(folder)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="is there already"):
        export(folder)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["crash.zip", "crash", "crash.zst", "crash.tar.gz"])
def test_another_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(StorageError, match=r"must end in .tar.zst or .tar$"):
        export(folder, name)


def test_a_bundle_that_cannot_be_written_leaves_nothing(folder: Path) -> None:
    crash = read_folder(folder)[0]
    crash.files["dump"].path.write_bytes(b"")  # shorter than when the folder was read
    with pytest.raises(StorageError, match="unexpected end of data"):
        bundle.export(crash, folder.parent / "crash.tar")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    crash = read_folder(folder)[0]
    crash.files["dump"].path.unlink()
    with pytest.raises(StorageError, match=r"kdump-.*\.dump: No such file or directory"):
        bundle.export(crash, folder.parent / "crash.tar")


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def manifest(files: Mapping[str, bytes]) -> tuple[tarfile.TarInfo, bytes]:
    listed = [
        {"name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]
    return member("manifest.json", json.dumps({"schema": 1, "files": listed}).encode())


def pack(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def refused(path: Path, why: str) -> None:
    """It is refused in one line, and nothing but the bundle is there afterwards."""
    root = path.parent
    before = sorted(root.rglob("*"))
    with pytest.raises(KdumpError, match=why) as caught, bundle.opened(path):
        pass
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert sorted(root.rglob("*")) == before


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where bundles are unpacked: deep in a folder that a test looks at as a whole."""
    path = tmp_path / "deep/down"
    path.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return tmp_path


OUTSIDE = ["../evil", "../../evil", "/tmp/evil", "a/../../evil", "..", f"../{RECORD}"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_that_climbs_out_is_refused(scratch: Path, name: str) -> None:
    evil = member(name, b"evil")
    refused(pack(scratch / "listed.tar", manifest({name: b"evil"}), evil), "leads out of the folder")
    refused(pack(scratch / "unlisted.tar", manifest({}), evil), "leads out of the folder")


@pytest.mark.parametrize("name", ["evil", f"sub/{RECORD}", ".bashrc", f"./{RECORD}"])
def test_another_file_is_refused(scratch: Path, name: str) -> None:
    refused(pack(scratch / "b.tar", manifest({name: b"x"}), member(name, b"x")), "is not a crash's file")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_device_is_refused(scratch: Path, kind: bytes) -> None:
    link = member(RECORD, type=kind, linkname="/etc/passwd")
    refused(pack(scratch / "b.tar", manifest({RECORD: b""}), link), "is not a plain file")


def test_a_file_that_is_not_as_listed_is_refused(scratch: Path) -> None:
    listed = manifest({RECORD: b"good"})
    refused(pack(scratch / "a.tar", listed, member(RECORD, b"evil")), "is not the file that the manifest")
    refused(pack(scratch / "b.tar", listed, member(RECORD, b"longer")), "is not the file that the manifest")
    twice = (member(RECORD, b"good"), member(RECORD, b"good"))
    refused(pack(scratch / "c.tar", listed, *twice), "is not the file that the manifest")
    refused(pack(scratch / "d.tar", listed), f"{RECORD} is missing")


@pytest.mark.parametrize(
    "first",
    [
        member(RECORD, b"{}"),
        member("manifest.json", type=tarfile.DIRTYPE),
    ],
)
def test_an_archive_without_a_manifest_is_no_bundle(
    scratch: Path, first: tuple[tarfile.TarInfo, bytes]
) -> None:
    refused(pack(scratch / "b.tar", first), "this is no bundle of kdumpd")


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"files": [1]}', b'{"files": [{"name": "x"}]}', b"[" * 60000]
)
def test_a_broken_manifest_is_refused(scratch: Path, text: bytes) -> None:
    refused(pack(scratch / "b.tar", member("manifest.json", text)), "manifest.json cannot be read")


def test_more_than_there_is_room_for_is_refused(scratch: Path) -> None:
    huge = {"schema": 1, "files": [{"name": RECORD, "size_bytes": 1 << 60, "sha256": ""}]}
    listed = member("manifest.json", json.dumps(huge).encode())
    refused(pack(scratch / "b.tar", listed), "MiB to unpack")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:3000] + os.urandom(64) + data[3064:],
        lambda data: b"\x28\xb5\x2f\xfd" + data,
        lambda data: b"",
        lambda data: b"just text",
    ],
)
@pytest.mark.parametrize("name", ["crash.tar.zst", "crash.tar"])
def test_damage_is_one_line(folder: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    path = export(folder, name)
    path.write_bytes(damage(path.read_bytes()))
    refused(path, "damaged|no bundle|not the file|is missing|cannot be read")


def test_a_missing_bundle_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"), bundle.opened(tmp_path / "x.tar"):
        pass


@pytest.mark.parametrize("name", ["file", "folder", "missing"])
def test_what_is_no_archive_is_seen(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(crashfiles.DUMP)
    (tmp_path / "folder").mkdir()
    assert not archive.is_archive(tmp_path / name)


def test_an_error_of_the_reader_is_left_alone(folder: Path) -> None:
    """What goes wrong while a bundle is open is not the bundle's damage."""
    with pytest.raises(FormatError, match=r"^mine$"), bundle.opened(export(folder)):
        raise FormatError("mine")
