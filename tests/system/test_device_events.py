"""Events of a real loop device, by each source: with udevd and without, lost on purpose, udevd killed."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE, run

import pytest
import trio

from kdumpd.host.uevents import Source, watch_devices

from .netlink import uevent_sockets
from .wakeups import Wakeups

pytestmark = pytest.mark.system

UDEVD = "/lib/systemd/systemd-udevd"
NO_UDEVD = Path("/nonexistent")
DEADLINE_S = 10
QUIET_S = 0.3
# Room for an event or two; the kernel raises it to its own minimum.
TINY_BUFFER_BYTES = 1
FLOOD = 200

# Says which source it uses, then "tick" for each tick, until it is killed.
WATCHER = """
import trio
from functools import partial
from kdumpd.host.uevents import watch_devices


async def main():
    async with trio.open_nursery() as nursery:
        print(await nursery.start(partial(watch_devices, partial(print, "tick", flush=True))), flush=True)

trio.run(main)
"""


class Loop:
    """A loop device."""

    def __init__(self, image: Path) -> None:
        image.write_bytes(bytes(1 << 20))
        command = ["losetup", "--find", "--show", str(image)]
        self.device = run(command, check=True, stdout=PIPE, text=True).stdout.strip()

    def change(self) -> None:
        """Have the kernel send an event for it."""
        Path("/sys/block", Path(self.device).name, "uevent").write_text("change")


@contextmanager
def attached(image: Path) -> Iterator[Loop]:
    loop = Loop(image)
    try:
        yield loop
    finally:
        run(["losetup", "--detach", loop.device], check=True)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    with attached(tmp_path / "loop.img") as loop:
        yield loop


class TickCounter:
    """What a reader waits for."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[None](1)
        self.count = 0

    def tick(self) -> None:
        self.count += 1
        with suppress(trio.WouldBlock):
            self._send.send_nowait(None)

    async def next(self) -> None:
        with trio.fail_after(DEADLINE_S):
            await self._receive.receive()

    async def quiet(self) -> None:
        """Pass over what comes until nothing has come for a while."""
        with trio.move_on_after(QUIET_S) as scope:
            while True:
                await self._receive.receive()
                scope.deadline = trio.current_time() + QUIET_S


class RunningProgram:
    """A process of our own, and the lines it says."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self.process, self._output = process, process.stdout
        self._rest = b""

    async def line(self) -> str:
        with trio.fail_after(DEADLINE_S):
            await trio.lowlevel.checkpoint()
            while b"\n" not in self._rest:
                received = await self._output.receive_some()
                assert received, "the program died"
                self._rest += received
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def quiet(self) -> None:
        """Pass over what it says until it has said nothing for a while."""
        with trio.move_on_after(QUIET_S) as scope:
            while True:
                await self.line()
                scope.deadline = trio.current_time() + QUIET_S

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[RunningProgram]:
    process = await trio.lowlevel.open_process(command, stdout=PIPE)
    try:
        yield RunningProgram(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def beside(other: RunningProgram) -> list[str]:
    """What to put in front of a command so that it runs in the other's namespaces."""
    return ["nsenter", "--target", str(other.process.pid), "--mount", "--net"]


async def udevd_listens(other: RunningProgram) -> None:
    """Wait until udevd in the other's namespaces takes events; its control socket is there before that."""
    ping = "until udevadm control --ping 2>/dev/null; do sleep 0.05; done"
    with trio.fail_after(DEADLINE_S):
        await trio.run_process([*beside(other), "sh", "-c", ping])


@asynccontextmanager
async def own_udevd() -> AsyncIterator[RunningProgram]:
    """A udevd with its own /run, /dev and network namespace: the machine's own are left alone."""
    setup = (
        "mount -t tmpfs run /run && mkdir /run/dev && cp -a /dev/null /dev/loop* /run/dev &&"
        f"mount --bind /run/dev /dev && echo there && exec {UDEVD}"
    )
    async with program("unshare", "--mount", "--net", "sh", "-c", setup) as daemon:
        assert await daemon.line() == "there"
        await udevd_listens(daemon)
        yield daemon


@pytest.mark.parametrize("source", [None, "netlink"])
async def test_a_loop_device_is_seen_without_udevd(
    source: Source | None, tmp_path: Path, nursery: trio.Nursery
) -> None:
    ticks = TickCounter()
    used = await nursery.start(partial(watch_devices, ticks.tick, source=source, control=NO_UDEVD))
    assert used == (source or "kernel")
    await ticks.quiet()
    with attached(tmp_path / "loop.img"):
        await ticks.next()
        await ticks.quiet()
    await ticks.next()
    nursery.cancel_scope.cancel()


async def test_a_loop_device_is_seen_with_udevd_which_may_die_and_return(loop: Loop) -> None:
    async with own_udevd() as daemon, program(*beside(daemon), sys.executable, "-c", WATCHER) as watcher:
        assert await watcher.line() == "udev"
        await watcher.quiet()
        loop.change()
        assert await watcher.line() == "tick"

        await watcher.quiet()
        await daemon.kill()
        loop.change()
        await watcher.quiet()

        async with program(*beside(watcher), UDEVD):
            await udevd_listens(watcher)
            loop.change()
            assert await watcher.line() == "tick"


# A libudev that does not load; and a libc in which ctypes finds none, as in a root with musl and no compiler.
@pytest.mark.parametrize(
    "hidden",
    ["/usr/lib/*/libudev.so.1", "/usr/sbin/ldconfig /usr/bin/gcc /usr/bin/cc /usr/bin/ld"],
    ids=["broken", "not found"],
)
async def test_without_libudev_it_is_raw_netlink(hidden: str, loop: Loop) -> None:
    cover = "for file in $0; do [ ! -e $file ] || mount --bind /dev/null $(realpath $file) || exit; done"
    command = ["sh", "-c", f'{cover}; exec "$@"', hidden, sys.executable, "-c", WATCHER]
    async with program("unshare", "--mount", *command) as watcher:
        assert await watcher.line() == "netlink"
        await watcher.quiet()
        loop.change()
        assert await watcher.line() == "tick"


@pytest.mark.parametrize("source", ["kernel", "netlink"])
async def test_events_lost_to_an_overrun_are_one_tick_and_a_new_socket(
    source: Source, loop: Loop, nursery: trio.Nursery
) -> None:
    ticks = TickCounter()
    watch = partial(watch_devices, ticks.tick, source=source, receive_buffer_bytes=TINY_BUFFER_BYTES)
    await nursery.start(watch)
    await ticks.quiet()
    (before,) = uevent_sockets()
    for _ in range(FLOOD):  # no checkpoint: the watcher cannot read meanwhile
        loop.change()
    assert uevent_sockets()[before].lost > FLOOD / 2

    flooded = trio.current_time()
    await ticks.next()
    assert trio.current_time() - flooded > 0.09  # the pause, without which a long flood is all it works on
    await ticks.quiet()
    (after,) = uevent_sockets()
    assert after != before
    loop.change()
    await ticks.next()
    assert list(uevent_sockets()) == [after]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("source", ["kernel", "netlink"])
async def test_a_flood_takes_little_of_the_kernels_memory(
    source: Source, loop: Loop, nursery: trio.Nursery
) -> None:
    await nursery.start(partial(watch_devices, lambda: None, source=source))
    for _ in range(5000):  # no checkpoint: the watcher cannot read meanwhile
        loop.change()
    (flooded,) = uevent_sockets().values()
    assert flooded.lost > 0
    assert flooded.waiting_bytes < 512 << 10
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("source", ["kernel", "netlink"])
async def test_a_device_of_another_kind_is_nothing(source: Source, nursery: trio.Nursery) -> None:
    ticks = TickCounter()
    await nursery.start(partial(watch_devices, ticks.tick, source=source))
    for _ in range(50):
        await trio.Path("/sys/class/mem/null/uevent").write_text("change")
        await trio.sleep(0.002)
    await ticks.quiet()
    assert ticks.count < 20  # not none: block devices of this machine may change meanwhile
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("source", ["kernel", "netlink"])
async def test_it_sleeps_while_nothing_happens(source: Source, loop: Loop, nursery: trio.Nursery) -> None:
    ticks = TickCounter()
    await nursery.start(partial(watch_devices, ticks.tick, source=source))
    loop.change()
    await ticks.quiet()
    wakeups = Wakeups()
    trio.lowlevel.add_instrument(wakeups)
    await trio.sleep(0.5)
    trio.lowlevel.remove_instrument(wakeups)
    assert (
        wakeups.count < 50
    )  # other devices of this machine may change; one that spins wakes up by thousands
    nursery.cancel_scope.cancel()
