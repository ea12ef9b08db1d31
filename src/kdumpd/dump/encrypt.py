"""Encrypting a stream with the program ``age``: only who has a private key can read what comes out.

age (https://age-encryption.org/v1) is in the image, from Debian. It gets the stream through a pipe and gives
the encrypted one through another: it may write no file of such a size itself (`host.process`), and what it
gives can be counted, and held to a limit. It takes 5 MB of memory.
"""

import contextlib
import os
import select
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from kdumpd.errors import DumpError, FormatError
from kdumpd.host.process import CHUNK_BYTES, Child, Finished, Spawn, Tail, program_with_pipe

PROGRAM: Final = "age"

# The alphabet of Bech32 and its checksum (BIP 173); an X25519 key of age has 32 bytes.
_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_PREFIX: Final = "age"
_KEY_CHARACTERS: Final = 52
_CHECKSUM_CHARACTERS: Final = 6

_READ_BYTES: Final = 256 << 10


def check_recipient(text: str) -> str:
    """Return an age public key (``age1...``) as it is.

    Raises:
        FormatError: it is none, or has a typing error.
    """
    prefix, separator, digits = text.rpartition("1")
    if prefix != _PREFIX or not separator or set(digits) - set(_ALPHABET):
        raise FormatError(f"{text[:80]!r} is no age public key")
    if len(digits) != _KEY_CHARACTERS + _CHECKSUM_CHARACTERS:
        raise FormatError(f"{text[:80]!r} is no age public key: it has {len(text)} characters, not 62")
    expanded = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    if _checksum(expanded + [_ALPHABET.index(letter) for letter in digits]) != 1:
        raise FormatError(f"{text[:80]!r} is no age public key: its checksum is wrong")
    return text


def _checksum(values: Sequence[int]) -> int:
    """The checksum of Bech32, which is 1 where there is no typing error (BIP 173)."""
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check


def encrypt_argv(recipients: Sequence[str], source: int) -> list[str]:
    """The command that encrypts what comes from a descriptor to these public keys.

    It has no standard input; in /proc "self" is right in every pid namespace.

    Raises:
        FormatError: one of them is no public key, or there is none.
    """
    if not recipients:
        raise FormatError("no recipient is set")
    options = [word for key in recipients for word in ("--recipient", check_recipient(key))]
    return [PROGRAM, "--encrypt", *options, f"/proc/self/fd/{source}"]


class Encryption:
    """A running age. All but `ended` blocks, for as long as is allowed and no longer.

    Args:
        child: age.
        plain: the non-blocking write end of its input; it belongs to this object.
        cipher: the non-blocking read end of its output.

    Attributes:
        taken_bytes: plain bytes that age has taken.
        written_bytes: encrypted bytes written so far.
    """

    def __init__(self, child: Child, plain: int, cipher: int) -> None:
        self.taken_bytes = 0
        self.written_bytes = 0
        self._child = child
        self._plain = plain
        self._cipher = cipher
        self._open = True

    def start(self, target: int, allowed_s: float) -> None:
        """Wait for the file's header, for which age waits for random bytes early in a boot.

        Raises:
            DumpError: it does not come in time.
            OSError: the file cannot be written.
        """
        until = time.monotonic() + allowed_s
        while not self.written_bytes:
            self._wait(until, writing=False)
            if not self._move(target):
                raise DumpError("age ended before it began")

    def write(self, data: bytes, target: int, allowed_s: float) -> None:
        """Give age the next plain bytes, and write to the file what it gives.

        Raises:
            DumpError: age has ended, or takes and gives nothing for so long.
            OSError: the file cannot be written.
        """
        left, until = memoryview(data), time.monotonic() + allowed_s
        while left:
            self._wait(until, writing=True)
            if self._move(target):
                until = time.monotonic() + allowed_s
            with contextlib.suppress(BlockingIOError):
                taken = self._give(left)
                left, self.taken_bytes = left[taken:], self.taken_bytes + taken
                until = time.monotonic() + allowed_s

    def finish(self, target: int, allowed_s: float) -> None:
        """End the plain stream, and write the rest of the encrypted one.

        Raises:
            DumpError: age gives nothing for so long.
            OSError: the file cannot be written.
        """
        self.close()
        until = time.monotonic() + allowed_s
        while self._move(target) != 0:
            self._wait(until, writing=False)
            until = time.monotonic() + allowed_s

    async def ended(self) -> None:
        """Wait for the end of age; the caller bounds it.

        Raises:
            DumpError: it says that something went wrong: the file is not whole.
        """
        assert self._child.stderr is not None
        said = Tail()
        while chunk := await self._child.stderr.receive_some(CHUNK_BYTES):
            said.add(chunk)
        if code := await self._child.wait():
            raise DumpError(f"age {Finished(code=code, messages=said.data).why()}")

    def close(self) -> None:
        """End the plain stream, whole or not."""
        if self._open:
            self._open = False
            os.close(self._plain)

    def _give(self, data: memoryview) -> int:
        try:
            return os.write(self._plain, data)
        except BrokenPipeError as error:
            raise DumpError("age ended too early") from error

    def _wait(self, until: float, *, writing: bool) -> None:
        poll = select.poll()
        poll.register(self._cipher, select.POLLIN)
        if writing:
            poll.register(self._plain, select.POLLOUT)
        if not poll.poll(max(0, until - time.monotonic()) * 1000):
            raise DumpError("age hangs")

    def _move(self, target: int) -> int | None:
        """Write what age has given; says how much: 0 at its end, None where it has nothing now."""
        try:
            data = os.read(self._cipher, _READ_BYTES)
        except BlockingIOError:
            return None
        place = 0
        while place < len(data):
            place += os.write(target, memoryview(data)[place:])
        self.written_bytes += len(data)
        return len(data)


@asynccontextmanager
async def encrypting(spawn: Spawn, recipients: Sequence[str]) -> AsyncIterator[Encryption]:
    """Start age; it is killed when the block is left, if it still runs.

    Args:
        spawn: ``Machine.spawn``.
        recipients: public keys, of whom any one can read what comes out.

    Raises:
        DumpError: age is missing.
        FormatError: a recipient is no public key, or there is none.
    """
    source, plain = os.pipe2(os.O_CLOEXEC)

    async def spawn_with_source(argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
        try:
            return await spawn(argv, stdout=stdout, pass_fds=[source, *pass_fds])
        finally:
            os.close(source)

    os.set_blocking(plain, False)
    try:
        argv = encrypt_argv(recipients, source)
    except FormatError:
        os.close(source)
        os.close(plain)
        raise
    encryption = None
    try:
        async with program_with_pipe(spawn_with_source, argv) as (child, cipher):
            encryption = Encryption(child, plain, cipher)
            yield encryption
    finally:
        if encryption is not None:
            encryption.close()
        else:
            os.close(plain)
