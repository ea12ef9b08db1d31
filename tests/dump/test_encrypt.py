"""Encryption with age: the real program, and one that hangs, dies or is not there."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from kdumpd.dump.encrypt import Encryption, check_recipient, encrypt_argv, encrypting
from kdumpd.errors import DumpError, FormatError
from kdumpd.host.process import Child, open_child

# made with age-keygen for these tests alone
OTHER = "age1temxqelekp2fux3nm6dkn8cd8y7dzpjlx2kstvnygnnl7g8g2cqqrrmhk3"
PLAIN = bytes(range(256)) * 4096


class Instead:
    """Starts another program in place of age."""

    def __init__(self, script: str) -> None:
        self._script = script

    async def __call__(self, argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
        command = ["sh", "-c", self._script, "sh", argv[-1]]
        return await open_child(command, stdout=stdout, pass_fds=pass_fds)


def new_key(folder: Path) -> tuple[Path, str]:
    path = folder / "key"
    subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    told = subprocess.run(["age-keygen", "-y", str(path)], check=True, capture_output=True, text=True)
    return path, told.stdout.strip()


def decrypted(path: Path, key: Path) -> bytes:
    return subprocess.run(["age", "-d", "-i", str(key), str(path)], check=True, capture_output=True).stdout


async def encrypt(encryption: Encryption, target: int, data: bytes, allowed_s: float = 5) -> None:
    await trio.to_thread.run_sync(encryption.start, target, allowed_s)
    for place in range(0, len(data), 100_000):
        await trio.to_thread.run_sync(encryption.write, data[place : place + 100_000], target, allowed_s)
    await trio.to_thread.run_sync(encryption.finish, target, allowed_s)
    await encryption.ended()


async def test_any_of_the_recipients_can_read_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    keys = [new_key(tmp_path / name) for name in ("a", "b")]
    with (tmp_path / "file").open("wb") as file:
        async with encrypting(open_child, [public for _, public in keys]) as encryption:
            await encrypt(encryption, file.fileno(), PLAIN)
    assert encryption.taken_bytes == len(PLAIN)
    assert encryption.written_bytes == (tmp_path / "file").stat().st_size
    for path, _ in keys:
        assert decrypted(tmp_path / "file", path) == PLAIN
    assert PLAIN[:64] not in (tmp_path / "file").read_bytes()


async def test_a_stream_that_is_cut_is_ended_properly(tmp_path: Path) -> None:
    path, public = new_key(tmp_path)
    with (tmp_path / "file").open("wb") as file:
        async with encrypting(open_child, [public]) as encryption:
            await encrypt(encryption, file.fileno(), b"")
    assert decrypted(tmp_path / "file", path) == b""


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with (tmp_path / "file").open("wb") as file:
        async with encrypting(open_child, [OTHER]) as encryption:
            await trio.to_thread.run_sync(encryption.start, file.fileno(), 5)
        with pytest.raises(FormatError):
            async with encrypting(open_child, []):
                pass
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sleep 60", "age hangs"),
        ("exit 1", "age ended before it began"),
        ("echo head; sleep 60", "age hangs"),
        ("echo head; exec 1>&-; sleep 0.1", "age ended too early"),
        ("echo head; cat $1 > /dev/null; echo broken >&2; exit 3", "age ended with exit code 3: broken"),
    ],
)
async def test_an_age_that_fails_is_an_error_in_time(tmp_path: Path, script: str, why: str) -> None:
    with (tmp_path / "file").open("wb") as file, trio.fail_after(10), pytest.raises(DumpError) as error:
        async with encrypting(Instead(script), [OTHER]) as encryption:
            await encrypt(encryption, file.fileno(), PLAIN, 0.5)
    assert str(error.value) == why


async def test_a_missing_age_is_an_error() -> None:
    async def missing(argv: Sequence[str], *, stdout: int, pass_fds: Sequence[int] = ()) -> Child:
        return await open_child(["/no-such-age"], stdout=stdout, pass_fds=pass_fds)

    with pytest.raises(DumpError, match="not found"):
        async with encrypting(missing, [OTHER]):
            pass


def test_a_public_key_is_taken_as_it_is() -> None:
    assert check_recipient(OTHER) == OTHER
    assert encrypt_argv([OTHER, OTHER], 7)[2:] == [*(["--recipient", OTHER] * 2), "/proc/self/fd/7"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no age public key"),
        ("-", "is no age public key"),
        ("--passphrase", "is no age public key"),
        ("ssh-ed25519 AAAA", "is no age public key"),
        (OTHER.upper(), "is no age public key"),
        (OTHER[:-1], "it has 61 characters, not 62"),
        (OTHER[:-1] + "q", "its checksum is wrong"),
        (OTHER[:20] + OTHER[21] + OTHER[20] + OTHER[22:], "its checksum is wrong"),
        ("age1" + "é" * 58, "is no age public key"),
    ],
)
def test_what_is_no_public_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(FormatError, match=why) as error:
        check_recipient(text)
    assert "\n" not in str(error.value)
