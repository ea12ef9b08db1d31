"""Decrypting a dump with the real age: the right file, or one clear line and nothing written."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import makedump, makestream

from kdumpd.analysis.decrypt import decrypt, decrypted_name
from kdumpd.errors import ConfigError, FormatError, KdumpError, StorageError

PAGES = {frame: bytes([frame % 251]) * 4096 for frame in range(3, 120)}
DUMP = makedump.kdump(PAGES, compression="none")
STREAM = makestream.stream(makestream.records(DUMP, pages=117, at_once=16))
NAME = "kdump-20261123T014039Z"


def new_key(path: Path) -> str:
    subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    told = subprocess.run(["age-keygen", "-y", str(path)], check=True, capture_output=True, text=True)
    return told.stdout.strip()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "key")
    return tmp_path / "key"


def encrypted(folder: Path, key: Path, data: bytes = STREAM) -> Path:
    told = subprocess.run(["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True)
    path = folder / "crashes" / f"{NAME}.flat.age"
    path.parent.mkdir()
    command = ["age", "--encrypt", "--recipient", told.stdout.strip(), "--output", str(path)]
    subprocess.run(command, input=data, check=True)
    return path


def refused(source: Path, key: Path, kind: type[KdumpError] = FormatError) -> str:
    before = sorted(source.parent.iterdir())
    with pytest.raises(kind) as error:
        decrypt(source, key, decrypted_name(source))
    assert sorted(source.parent.iterdir()) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_dump_is_the_one_that_was_encrypted(tmp_path: Path, key: Path) -> None:
    source = encrypted(tmp_path, key)
    target = decrypted_name(source)
    assert target.name == f"{NAME}.dump"
    check = decrypt(source, key, target)
    assert check.complete
    assert check.pages == 117
    assert target.read_bytes() == DUMP
    assert target.stat().st_mode & 0o777 == 0o600


def test_another_key_does_not_open_it(tmp_path: Path, key: Path) -> None:
    new_key(tmp_path / "other")
    source = encrypted(tmp_path, key)
    assert refused(source, tmp_path / "other") == (
        f"{source}: it cannot be decrypted: no identity matched any of the recipients"
    )


@pytest.mark.parametrize("size", [0, 100, 1000, 70_000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, key: Path, size: int) -> None:
    source = encrypted(tmp_path, key)
    source.write_bytes(source.read_bytes()[:size])
    assert "it cannot be decrypted: " in refused(source, key)


@pytest.mark.parametrize("place", [10, 150, 5000, 70_000, -1])
def test_a_flipped_bit_is_seen(tmp_path: Path, key: Path, place: int) -> None:
    source = encrypted(tmp_path, key)
    data = bytearray(source.read_bytes())
    data[place] ^= 4
    source.write_bytes(data)
    assert "it cannot be decrypted: " in refused(source, key)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda stream: b"text" * 2000, "what makedumpfile wrote is not a flattened stream"),
        (lambda stream: stream[:-16], "the stream ended without its end record"),
        (lambda stream: stream[:9000], "the stream ended without its end record"),
        (lambda stream: stream + bytes(2 << 20), "there is more after the end of the stream"),
        (lambda stream: makestream.stream([(0, b"text" * 2000)]), "not a kdump file: no KDUMP signature"),
    ],
    ids=["no stream", "no end", "cut", "more", "no dump"],
)
def test_what_is_no_whole_dump_is_refused(
    tmp_path: Path, key: Path, change: Callable[[bytes], bytes], why: str
) -> None:
    source = encrypted(tmp_path, key, change(STREAM))
    assert refused(source, key) == f"{source}: {why}"


def test_a_dump_with_pages_missing_that_does_not_say_so_is_refused(tmp_path: Path, key: Path) -> None:
    records = makestream.records(DUMP, pages=117, at_once=16)
    source = encrypted(tmp_path, key, makestream.stream(records[:-4]))
    assert "of 117 pages are in the dump" in refused(source, key)


def test_no_file_is_overwritten(tmp_path: Path, key: Path) -> None:
    source = encrypted(tmp_path, key)
    decrypted_name(source).write_text("mine")
    assert refused(source, key, ConfigError) == f"{decrypted_name(source)} is there already"
    assert decrypted_name(source).read_text() == "mine"


def test_a_missing_file_and_a_missing_folder_are_said(tmp_path: Path, key: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        decrypt(tmp_path / "missing", key, tmp_path / "dump")
    source = encrypted(tmp_path, key)
    with pytest.raises(StorageError, match="No such file or directory"):
        decrypt(source, key, tmp_path / "missing" / "dump")


def test_without_age_it_is_said_which_package_has_it(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = encrypted(tmp_path, key)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "decrypt needs the program age" in refused(source, key, ConfigError)
