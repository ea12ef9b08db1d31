"""A run of kdumpd, as a program, that has the disk pause before its n-th call on it: a real run, a real disk.

    python -m tests.system.pausing CONFIG MEETING N [NOT-COUNTED...]

Before each call on the disk it writes the call's name into MEETING/calls. Before the n-th one it asks at the
socket MEETING/pause, where the test answers when the disk has stopped. Everything is as in a capture kernel
but the last step: the machine is not restarted, and not all disks of the host are synced, which would be
those of other runs as well. A stand-in for a hardware watchdog notes how long it was not petted.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from kdumpd.config import load_config
from kdumpd.host.linux import LinuxMachine
from kdumpd.run.supervisor import supervise

T = TypeVar("T")


class PausingMachine(LinuxMachine):
    """The real machine, whose disk pauses before the n-th call on it."""

    def __init__(self, meeting: Path, pause_before: int, not_counted: list[str]) -> None:
        self._meeting = meeting
        self._pause_before = pause_before
        self._not_counted = [getattr(self, name) for name in not_counted]
        self._calls = 0
        self._counting = threading.Lock()
        self._names = (meeting / "calls").open("a", buffering=1)

    async def on_disk(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        return await super().on_disk(partial(self._counted, call, *args, **kwargs))

    def _counted(self, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        if call in self._not_counted:
            return call(*args, **kwargs)
        with self._counting:
            self._calls += 1
            now = self._calls == self._pause_before
            self._names.write(f"{_name(call)}\n")
        if now:
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(str(self._meeting / "pause"))
                door.recv(1)
        return call(*args, **kwargs)

    def open_watchdog(self, device: str) -> int:
        pets, petted = os.pipe()
        threading.Thread(target=self._watch, args=[pets], daemon=True).start()
        return petted

    def _watch(self, pets: int) -> None:
        """Note the longest time without a pet; the magic close's V ends it."""
        longest_s, last = 0.0, time.monotonic()
        while os.read(pets, 1) not in (b"", b"V"):
            now = time.monotonic()
            longest_s, last = max(longest_s, now - last), now
            (self._meeting / "watchdog").write_text(f"{longest_s:.2f}")

    def sync(self) -> None:
        """The disk was synced by its unmounting."""

    def restart(self, method: str) -> str | None:
        return None

    def panic_timeout_s(self, path: str) -> int | None:
        return -1


def _name(call: object) -> str:
    """The name of what is called, inside the partials and the errand that carry it."""
    while True:
        owner = getattr(call, "__self__", None)
        if isinstance(call, partial):
            call = call.func
        elif type(owner).__name__ == "_Errand":
            call = owner._call  # type: ignore[union-attr]
        else:
            return str(getattr(call, "__qualname__", call))


async def run(config: Path, meeting: Path, pause_before: int, not_counted: list[str]) -> int:
    outcome = await supervise(
        load_config(config),
        machine=PausingMachine(meeting, pause_before, not_counted),
        on_deadline=lambda: os._exit(2),
    )
    return 0 if outcome.complete else 1


if __name__ == "__main__":
    sys.exit(trio.run(run, Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
