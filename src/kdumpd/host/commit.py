"""One file, atomic and durable, from async code."""

import os
from pathlib import PurePath
from typing import Final

from kdumpd.errors import StorageError, trouble
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine

_MODE: Final = 0o600


async def commit_file(
    path: str | os.PathLike[str],
    data: bytes,
    *,
    mode: int = _MODE,
    mtime_s: int | None = None,
    machine: Machine | None = None,
) -> None:
    """Write a whole file: after a power cut it has its old content or all of the new one.

    The folder is opened without following a link, and held: the file cannot land elsewhere. The caller owns
    the time. Cancelled, the file may be written all the same, in a thread that is left behind.

    Args:
        path: the file; its folder must be there.
        data: its content.
        mode: its permission bits.
        mtime_s: its modification time, in seconds since 1970, where that says something.
        machine: the machine to write on; a simulated one in tests.

    Raises:
        StorageError: the folder cannot be opened, or the file cannot be written.
    """
    machine = machine or LinuxMachine()
    await machine.on_disk(_commit, machine, PurePath(path), data, mode, mtime_s)


def _commit(machine: Machine, path: PurePath, data: bytes, mode: int, mtime_s: int | None) -> None:
    folder = machine.open_folder(str(path.parent))
    try:
        folder.write(path.name, data, mode=mode, mtime_s=mtime_s)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {trouble(error)}") from error
    finally:
        folder.close()
