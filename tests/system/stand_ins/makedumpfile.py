"""A makedumpfile that misbehaves: `makedumpfile.py BEHAVIOUR FOLDER ARGUMENTS...`.

Everything but the dump itself is the real makedumpfile's; the dump is the real one's stream, spoiled as
BEHAVIOUR says. FOLDER is where it meets the test: `half` is made when half of the stream is out, and
`pause_*` wait there until the test makes `go`.
"""

import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NoReturn

REAL = "/usr/bin/makedumpfile"
RECORD = struct.Struct(">qq")
END = RECORD.pack(-1, -1)
FOR_EVER_S = 3600
# Half of the recorded dump is more; it is what "the middle" means here.
MIDDLE_BYTES = 24 << 20


class Stream:
    """The real makedumpfile's stream, record by record, to standard output."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.written_bytes = 0

    @cached_property
    def _real(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([REAL, *self.arguments], stdout=subprocess.PIPE)

    def _records(self) -> Iterator[tuple[int, bytes]]:
        source = self._real.stdout
        assert source is not None
        if not self.written_bytes:
            put(source.read(4096))
        while head := source.read(RECORD.size):
            offset, size_bytes = RECORD.unpack(head)
            if offset < 0:
                return
            yield offset, source.read(size_bytes)
        self._end_as_the_real_one()

    def _end_as_the_real_one(self) -> NoReturn:
        """Its stream broke off."""
        code = self._real.wait()
        if code < 0:
            os.kill(os.getpid(), -code)
        sys.exit(code)

    def copy(self, limit_bytes: float = float("inf")) -> int:
        """Put records out until so many bytes were written; returns the offset after the last one."""
        after = 0
        for offset, data in self._records():
            put(RECORD.pack(offset, len(data)) + data)
            after, self.written_bytes = offset + len(data), self.written_bytes + len(data)
            if self.written_bytes >= limit_bytes:
                break
        return after

    def end(self) -> None:
        put(END)
        self._real.wait()


def put(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def meet(folder: Path) -> None:
    """Say that the middle is reached, and wait for the test."""
    (folder / "half").touch()
    while not (folder / "go").exists():
        time.sleep(0.005)


def exit_at_once(_stream: Stream, _folder: Path) -> int:
    sys.stderr.write("makedumpfile: no luck today.\n")
    return 1


def exit_in_the_middle(stream: Stream, _folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    sys.stderr.write("\rCopying data : [ 45.1 %] /\nreadpage_elf: Can't read the dump memory.\n")
    return 1


def exit_after_the_last_byte(stream: Stream, _folder: Path) -> int:
    stream.copy()
    stream.end()
    sys.stderr.write("something went wrong after all\n")
    return 1


def killed(stream: Stream, _folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def stops(stream: Stream, folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    (folder / "half").touch()
    time.sleep(FOR_EVER_S)
    return 0


def stops_and_talks(stream: Stream, folder: Path) -> int:
    """Says the same percentage again and again: no progress, however often it is said."""
    stream.copy(MIDDLE_BYTES)
    while True:
        sys.stderr.write("\rCopying data                      : [ 45.1 %] -           eta: 3s")
        sys.stderr.flush()
        time.sleep(0.2)


def ignores_signals(stream: Stream, folder: Path) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    return stops(stream, folder)


def slow_start(stream: Stream, _folder: Path) -> int:
    """A large machine: no byte for long, and percentages that move."""
    for percent in range(0, 30, 2):
        sys.stderr.write(f"\rExcluding unnecessary pages               : [ {percent:3}.0 %] /")
        sys.stderr.flush()
        time.sleep(0.2)
    stream.copy()
    stream.end()
    return 0


def floods(stream: Stream, _folder: Path) -> int:
    noise = b"\x1b[2J\x00\xff noise without an end " * 2000
    for _ in range(500):
        os.write(2, noise)
    stream.copy()
    os.write(2, noise)
    stream.end()
    return 0


def ends_early(stream: Stream, _folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    return 0


def ends_inside_a_record(stream: Stream, _folder: Path) -> int:
    put(RECORD.pack(stream.copy(MIDDLE_BYTES), 1 << 20) + bytes(1000))
    return 0


def negative_offset(stream: Stream, _folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    put(RECORD.pack(-4096, 4096) + bytes(4096))
    stream.copy()
    return 0


def huge_offset(stream: Stream, _folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    put(RECORD.pack(1 << 62, 4096) + bytes(4096))
    stream.copy()
    return 0


def far_offset(stream: Stream, _folder: Path) -> int:
    """Within what a file can be, and far more than there is room for."""
    stream.copy(MIDDLE_BYTES)
    put(RECORD.pack(1 << 40, 4096) + bytes(4096))
    stream.copy()
    return 0


def negative_size(stream: Stream, _folder: Path) -> int:
    put(RECORD.pack(stream.copy(MIDDLE_BYTES), -4096) + bytes(4096))
    stream.copy()
    return 0


def overlapping(stream: Stream, _folder: Path) -> int:
    """Garbage over the page descriptors that were written before."""
    stream.copy(MIDDLE_BYTES)
    put(RECORD.pack(200 << 10, 64 << 10) + b"\xa5" * (64 << 10))
    stream.copy()
    stream.end()
    return 0


def garbage_from_the_start(_stream: Stream, _folder: Path) -> int:
    put(os.urandom(1 << 20))
    return 0


def garbage_in_the_middle(stream: Stream, _folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    for _ in range(64):
        put(os.urandom(1 << 20))
    return 0


def writes_for_ever(stream: Stream, _folder: Path) -> int:
    """The file grows without an end."""
    offset = stream.copy(MIDDLE_BYTES)
    while True:
        put(RECORD.pack(offset, 1 << 16) + bytes(1 << 16))
        offset += 1 << 16


def writes_the_same_for_ever(stream: Stream, _folder: Path) -> int:
    """The file does not grow, and there is no end."""
    offset = stream.copy(MIDDLE_BYTES)
    while True:
        put(RECORD.pack(offset, 1 << 16) + bytes(1 << 16))
        time.sleep(0.01)


def pause_in_the_middle(stream: Stream, folder: Path) -> int:
    stream.copy(MIDDLE_BYTES)
    meet(folder)
    stream.copy()
    stream.end()
    return 0


def pause_before_the_end(stream: Stream, folder: Path) -> int:
    stream.copy()
    meet(folder)
    stream.end()
    return 0


def stays_after_the_end(stream: Stream, folder: Path) -> int:
    stream.copy()
    stream.end()
    (folder / "half").touch()
    time.sleep(FOR_EVER_S)
    return 0


def eats_memory(stream: Stream, _folder: Path) -> int:
    """Until the OOM killer acts."""
    stream.copy(MIDDLE_BYTES)
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1 << 20)))


def keeps_free_pages(stream: Stream, _folder: Path) -> int:
    """As 1.7.6 does with Linux 6.12: the page report says that no free page was found."""
    said, real_stderr = os.memfd_create("said"), os.dup(2)
    os.dup2(said, 2)
    stream.copy()
    stream.end()
    report = re.sub(rb"(Free pages +: )0x[0-9a-f]+", rb"\g<1>0x0", os.pread(said, 1 << 20, 0))
    os.write(real_stderr, report)
    return 0


def other_level(stream: Stream, _folder: Path) -> int:
    """User pages are kept, unasked."""
    arguments = stream.arguments
    arguments[arguments.index("-d") + 1] = "23"
    os.execv(REAL, [REAL, *arguments])


def writes_to_storage(stream: Stream, folder: Path) -> int:
    """Hangs in the kernel, where no signal reaches it, once the test has frozen the file system."""
    stream.copy(MIDDLE_BYTES)
    meet(folder)
    (Path((folder / "storage").read_text()) / "of-the-stand-in").write_text("hangs here")
    time.sleep(FOR_EVER_S)
    return 0


def write_log(log: Path) -> NoReturn:
    """Instead of the crashed kernel's log, one that the test wrote."""
    sys.stdout.buffer.write(log.read_bytes())
    sys.stdout.flush()
    sys.exit(0)


def main() -> NoReturn:
    behaviour, folder, *arguments = sys.argv[1:]
    if behaviour == "other_log" and "--dump-dmesg" in arguments:
        write_log(Path(folder) / "log")
    other_job = "-F" not in arguments or "--dump-dmesg" in arguments or "--dry-run" in arguments
    if behaviour == "other_log" or other_job:
        os.execv(REAL, [REAL, *arguments])
    sys.exit(globals()[behaviour](Stream(arguments), Path(folder)))


if __name__ == "__main__":
    main()
