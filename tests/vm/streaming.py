"""The stream of a real makedumpfile over a recorded vmcore, and what becomes of it on its way into a file."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kdumpd.dump.eraser import Eraser
from kdumpd.dump.records import Piece, Records

from . import makedumpfile

ODD_BYTES = 100_003


def program() -> list[str]:
    """A makedumpfile with every compression that knows 6.12; it writes a stream to its standard output."""
    libraries = makedumpfile.of("forky") / "lib"
    loader = libraries / "ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", str(libraries), str(libraries / "makedumpfile"), "-F"]


def stream(vmcore: Path, folder: Path, *options: str) -> Path:
    """Its stream, as a file in a folder."""
    path = folder / "stream"
    with path.open("wb") as file:
        subprocess.run(
            [*program(), *options, str(vmcore)], stdout=file, stderr=subprocess.DEVNULL, check=True
        )
    return path


def records(file: Path) -> Iterator[Piece]:
    """The records of a stream as they are."""
    found = Records()
    return (piece for data in _chunks(file) for piece in found.feed(data))


def passed(eraser: Eraser, file: Path) -> Iterator[Piece]:
    """What an eraser lets pass."""
    return (piece for data in _chunks(file) for piece in eraser.feed(data))


def place(pieces: Iterator[Piece], path: Path) -> None:
    """Put the pieces at their places in a new file."""
    with path.open("wb") as file:
        for offset, data in pieces:
            os.pwrite(file.fileno(), data, offset)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while data := opened.read(ODD_BYTES):
            yield data
