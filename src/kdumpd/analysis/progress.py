"""What takes a while, told on standard error: in place on a terminal, a line each elsewhere."""

import sys
from typing import IO, Self


class Progress:
    """Says what is being done; leaves nothing behind on a terminal when it ends."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._step = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def step(self, text: str) -> None:
        """Say what begins now."""
        self._step = text
        self._write(f"\r\x1b[K{text} ..." if self._live else f"{text}\n")

    def amount(self, size_bytes: int) -> None:
        """Say how much the step has done; only a terminal is told."""
        if self._live:
            self._write(f"\r\x1b[K{self._step}: {size_bytes >> 20} MiB")

    def end(self) -> None:
        """Clear the line."""
        if self._live:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
