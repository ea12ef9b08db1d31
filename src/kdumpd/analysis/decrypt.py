"""From an encrypted stream to a dump: decrypted with the program ``age``, placed, checked.

A file is written under a temporary name, and gets its own only when all of it is right: age checks every
64 KiB of what it decrypts, and says at the end whether the end is missing.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from kdumpd.dump import kdumpfile
from kdumpd.dump.kdumpfile import Check
from kdumpd.dump.records import Records
from kdumpd.errors import ConfigError, FormatError, StorageError, trouble
from kdumpd.text import printable, shortened

SUFFIX: Final = ".flat.age"
_CHUNK_BYTES: Final = 1 << 20
_SAID_CHARACTERS: Final = 160
# age begins its messages so, and ends them with where to report errors.
_ERROR: Final = "age: error: "


def decrypted_name(source: Path) -> Path:
    """Where the dump of an encrypted file goes if nothing else is said: beside it."""
    return source.with_name(f"{source.name.removesuffix(SUFFIX)}.dump")


def decrypt(source: Path, identity: Path, target: Path) -> Check:
    """Decrypt a dump.

    Args:
        source: the encrypted stream.
        identity: the file with the private key, as age-keygen writes one.
        target: the dump to write; must not be there.

    Returns:
        What the dump was found to hold.

    Raises:
        ConfigError: age is missing, a file to read is missing, or the target is there.
        FormatError: it is not encrypted to this key, is truncated or was changed.
        StorageError: the dump cannot be written.
    """
    for path in (source, identity):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
    if target.exists():
        raise ConfigError(f"{target} is there already")
    try:
        with _temporary(target) as (file, path):
            _place(source, identity, file)
            check = _checked(source, file)
            os.fsync(file.fileno())
            path.rename(target)
    except OSError as error:
        raise StorageError(f"{target}: {trouble(error)}") from error
    return check


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file beside the target, which is gone afterwards unless it got another name."""
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    path = Path(name)
    try:
        with os.fdopen(fd, "w+b", buffering=0) as file:
            yield file, path
    finally:
        path.unlink(missing_ok=True)


def _place(source: Path, identity: Path, file: IO[bytes]) -> None:
    records = Records()
    with _age(source, identity) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        wrong = None
        try:
            while data := child.stdout.read(_CHUNK_BYTES):
                if records.ended:
                    raise FormatError("there is more after the end of the stream")
                for place, content in records.feed(data):
                    _write(file, content, place)
        except FormatError as error:
            child.kill()
            wrong = str(error)
        said = child.stderr.read()
        if child.wait() and wrong is None:
            wrong = _why(said)
    if wrong is None and not records.ended:
        wrong = "the stream ended without its end record"
    if wrong is not None:
        raise FormatError(f"{source}: {wrong}")


@contextlib.contextmanager
def _age(source: Path, identity: Path) -> Iterator["subprocess.Popen[bytes]"]:
    # It never asks: without a terminal a key that needs a passphrase is an error.
    command = ["age", "--decrypt", "--identity", str(identity.absolute()), str(source.absolute())]
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise ConfigError("decrypt needs the program age; Debian's package is age") from error
    with child:
        try:
            yield child
        except BaseException:
            child.kill()
            raise


def _write(file: IO[bytes], data: bytes, place: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(file.fileno(), left, place)
        left, place = left[written:], place + written


def _checked(source: Path, file: IO[bytes]) -> Check:
    """Refuse what is no dump, and one that was cut without saying so of itself."""
    try:
        check = kdumpfile.check(file.fileno())
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    if not check.complete and not check.header.incomplete:
        raise FormatError(f"{source}: {check.pages} of {check.expected_pages} pages are in the dump")
    return check


def _why(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    words = next((line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)), "age failed")
    return f"it cannot be decrypted: {shortened(printable(words), _SAID_CHARACTERS)}"
