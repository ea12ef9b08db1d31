"""A bundle: one crash's files in one archive, with a manifest and checksums, to hand to support."""

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from kdumpd.crashes import archive
from kdumpd.crashes.artefacts import parse_name
from kdumpd.crashes.inventory import Crash, File
from kdumpd.errors import FormatError, StorageError, trouble
from kdumpd.version import __version__

MANIFEST: Final = "manifest.json"
SCHEMA: Final = 1

_MAX_MANIFEST_BYTES: Final = 1 << 16

# A reader knows the crash before the long part comes.
_ORDER: Final = ("record", "log", "dump")


def export(crash: Crash, target: Path) -> None:
    """Write a crash's files into a new archive, ``.tar.zst`` or ``.tar``.

    Raises:
        StorageError: a file cannot be read, or the archive not be written.
    """
    files = [crash.files[kind] for kind in _ORDER if kind in crash.files]
    for file in files:
        if parse_name(file.path.name) is None:
            raise StorageError(f"{file.path}: a file with this name is not a crash's")
    manifest = {
        "schema": SCHEMA,
        "kdumpd": __version__,
        "stamp": crash.stamp,
        "files": [_describe(file) for file in files],
    }
    with archive.writing(target) as tar:
        _add(tar, MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
        for file in files:
            with file.path.open("rb") as content:
                tar.addfile(_member(file.path.name, file.size_bytes), content)


def _describe(file: File) -> dict[str, Any]:
    try:
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{file.path}: {trouble(error)}") from error
    return {"name": file.path.name, "size_bytes": file.size_bytes, "sha256": digest}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_member(name, len(data)), io.BytesIO(data))


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    """A member with no trace of the machine that packs it."""
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o600
    return member


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Unpack a bundle into a folder that is there until the ``with`` ends.

    Raises:
        FormatError: it is no bundle, is damaged, or has what a bundle has not; nothing was written
            outside of the folder.
        StorageError: it cannot be read, or there is no room.
    """
    with tempfile.TemporaryDirectory(prefix="kdumpd-bundle-") as folder:
        with archive.reading(path) as tar:
            _unpack(tar, path, Path(folder))
        yield Path(folder)


def _unpack(tar: tarfile.TarFile, path: Path, folder: Path) -> None:
    manifest = _manifest(tar, path)
    room = shutil.disk_usage(folder).free
    if (needed := sum(size_bytes for size_bytes, _ in manifest.values())) > room:
        raise StorageError(f"{path}: {needed >> 20} MiB to unpack, {room >> 20} MiB free in {folder.parent}")
    left = dict(manifest)
    while (member := tar.next()) is not None:
        _check_name(member.name, path)
        size_bytes, digest = left.pop(member.name, (-1, ""))
        if member.size != size_bytes or archive.copy_out(tar, member, folder / member.name) != digest:
            raise FormatError(f"{path}: {member.name} is not the file that the manifest describes")
    if left:
        raise FormatError(f"{path}: {', '.join(left)} is missing")


def _check_name(name: str, path: Path) -> None:
    if not archive.inside(name):
        raise FormatError(f"{path}: {name!r} leads out of the folder; nothing of it was unpacked")
    if parse_name(name) is None:
        raise FormatError(f"{path}: {name!r} is not a crash's file")


def _manifest(tar: tarfile.TarFile, path: Path) -> Mapping[str, tuple[int, str]]:
    """Size and checksum of each file, by its name."""
    first = tar.next()
    content = tar.extractfile(first) if first and first.name == MANIFEST and first.isreg() else None
    if content is None:
        raise FormatError(f"{path}: this is no bundle of kdumpd: it does not begin with {MANIFEST}")
    try:
        document = json.loads(content.read(_MAX_MANIFEST_BYTES))
        files = {
            str(file["name"]): (int(file["size_bytes"]), str(file["sha256"])) for file in document["files"]
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path}: {MANIFEST} cannot be read: {error}") from error
    for name in files:
        _check_name(name, path)
    return files
