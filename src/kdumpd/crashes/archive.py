"""tar archives, plain or compressed, read as a stream and never trusted.

Nothing is extracted by a name out of an archive: a caller takes the members that it knows and says where
each goes. zstd needs the package zstandard, which ``kdumpd[analysis]`` brings; a plain ``.tar`` needs
nothing.
"""

import contextlib
import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from importlib import import_module
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kdumpd.errors import FormatError, StorageError, trouble

ZSTD: Final = b"\x28\xb5\x2f\xfd"
_COMPRESSED: Final = (ZSTD, b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh")
# A tar's own mark stands in its first header, POSIX.1 ustar.
_USTAR: Final = slice(257, 262)

# The largest window that zstd itself reads only when told to is 2 GiB (zstd --long=31).
_WINDOW_BYTES: Final = 1 << 31
_CHUNK_BYTES: Final = 1 << 20

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def is_archive(path: Path) -> bool:
    """Tell by a file's first bytes if it may be a tar archive, compressed or not."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return False
    return start.startswith(_COMPRESSED) or start[_USTAR] == b"ustar"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive as a stream; its members come once, in their order.

    Raises:
        FormatError: it is damaged, or of a compression that cannot be read here. This also when the damage
            is met inside the ``with``.
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file, _opened(file, path) as tar:
            yield tar
    except (tarfile.TarError, EOFError, LZMAError, zlib.error, ValueError, _zstd_error()) as error:
        raise FormatError(f"{path}: the archive is damaged: {error}") from error
    except OSError as error:
        raise StorageError(f"{path}: {trouble(error)}") from error


@contextlib.contextmanager
def _opened(file: Any, path: Path) -> Iterator[tarfile.TarFile]:  # noqa: ANN401 tarfile's own types differ
    zstd = file.read(len(ZSTD)) == ZSTD
    file.seek(0)
    if not zstd:
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            yield tar
        return
    reader = _zstandard(path).ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    with (
        reader.stream_reader(file, read_across_frames=True) as plain,
        tarfile.open(fileobj=plain, mode="r|") as tar,
    ):
        yield tar


@contextlib.contextmanager
def writing(path: Path) -> Iterator[tarfile.TarFile]:
    """Write a new archive, compressed with zstd unless its name ends in ``.tar``; whole or not at all.

    Raises:
        StorageError: the name ends otherwise, the file is there already, or cannot be written.
    """
    if path.suffixes[-2:] != [".tar", ".zst"] and path.suffix != ".tar":
        raise StorageError(f"{path}: the name must end in .tar.zst or .tar")
    if path.exists():
        raise StorageError(f"{path}: is there already")
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with os.fdopen(os.open(unfinished, _CREATE, 0o600), "wb") as file, _written(file, path) as tar:
            yield tar
        unfinished.rename(path)
    except OSError as error:
        raise StorageError(f"{path}: {trouble(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


@contextlib.contextmanager
def _written(file: Any, path: Path) -> Iterator[tarfile.TarFile]:  # noqa: ANN401 as above
    if path.suffix == ".tar":
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            yield tar
        return
    with (
        _zstandard(path).ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield tar


def copy_out(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> str:
    """Write a member's content to a new file; returns its SHA-256.

    Raises:
        tarfile.ReadError: the member is not a plain file, which `reading` makes a FormatError.
    """
    content = tar.extractfile(member) if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
    if content is None:
        raise tarfile.ReadError(f"{member.name!r} is not a plain file")
    total = hashlib.sha256()
    with target.open("xb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            total.update(chunk)
            file.write(chunk)
    return total.hexdigest()


def inside(name: str) -> bool:
    """Tell if a member's name stays inside the folder that it is extracted to."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _zstandard(path: Path) -> Any:  # noqa: ANN401 an optional package
    try:
        return import_module("zstandard")
    except ImportError as error:
        raise FormatError(
            f"{path}: zstd needs the package zstandard: pip install 'kdumpd[analysis]'"
        ) from error


def _zstd_error() -> type[Exception]:
    with contextlib.suppress(ImportError):
        error: type[Exception] = import_module("zstandard").ZstdError
        return error
    return EOFError
