"""The mount table of a real mount namespace, changed fast: seen in time, never stale, without spinning."""

import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE

import pytest
import trio

from kdumpd.host.mountevents import watch_mounts
from kdumpd.host.mounts import Mount, find_mount, read_mounts

from .wakeups import Wakeups

pytestmark = pytest.mark.system

BURSTS = 1500
SETTLE_S = 0.005
STALE_S = 1.0

# Runs in a mount namespace of its own. A line of steps, answered by a line: "+PATH" mounts a tmpfs, "-PATH"
# unmounts the topmost one, "~N" waits N microseconds; "?PATH" answers with the id of the mount that a lookup
# of PATH arrives in and of the one that its parent folder lies in, 0 where there is none. The last answer
# is the time.
MOUNTER = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def check(result):
    if result:
        raise OSError(ctypes.get_errno(), "mount")

def mount_id(path):
    fd = os.open(path, os.O_PATH)
    lines = open(f"/proc/self/fdinfo/{fd}").read().split("\\n")
    os.close(fd)
    return next(line.split()[1] for line in lines if line.startswith("mnt_id"))

for line in sys.stdin:
    answers = []
    for step in line.split():
        path = step[1:]
        if step[0] == "+":
            os.makedirs(path, exist_ok=True)
            check(libc.mount(b"none", path.encode(), b"tmpfs", 0, b"size=4k"))
        elif step[0] == "-":
            check(libc.umount2(path.encode(), 2))
        elif step[0] == "~":
            time.sleep(int(path) / 1e6)
        elif not os.path.exists(path):
            answers += [0, 0]
        else:
            answers += [mount_id(path), 0 if path == "/" else mount_id(os.path.dirname(path))]
    print(*answers, time.monotonic_ns(), flush=True)
"""


class Namespace:
    """A mount namespace, and the process in it that mounts what it is told."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout
        self._rest = b""
        self.table = f"/proc/{process.pid}/mountinfo"

    async def do(self, *steps: str) -> list[int]:
        await self._orders.send_all(" ".join(steps).encode() + b"\n")
        while b"\n" not in self._rest:
            received = await self._answers.receive_some()
            assert received, "the mounter died"
            self._rest += received
        answer, _, self._rest = self._rest.partition(b"\n")
        return [int(number) for number in answer.split()]


@asynccontextmanager
async def own_namespace() -> AsyncIterator[Namespace]:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", MOUNTER]
    process = await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE)
    try:
        namespace = Namespace(process)
        await namespace.do()  # it is in its namespace now
        yield namespace
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


class View:
    """What a reader knows that looks again after each tick, as the storage gate does."""

    def __init__(self, table: str, below: Path) -> None:
        self._table, self._below = table, f"{below}/"
        self._send, self._ticks = trio.open_memory_channel[None](1)
        self.tick_times: list[int] = []
        self.changed = trio.Event()
        self.mounts: Counter[str] = Counter()

    def tick(self) -> None:
        self.tick_times.append(time.monotonic_ns())
        with suppress(trio.WouldBlock):
            self._send.send_nowait(None)

    async def follow(self) -> None:
        async for _ in self._ticks:
            paths = (mount.mountpoint for mount in read_mounts(self._table))
            self.mounts = Counter(path for path in paths if path.startswith(self._below))
            self.changed.set()
            self.changed = trio.Event()

    async def becomes(self, wanted: Counter[str]) -> bool:
        with trio.move_on_after(STALE_S):
            await trio.lowlevel.checkpoint()
            while self.mounts != wanted:
                await self.changed.wait()
        return self.mounts == wanted


@asynccontextmanager
async def watched(below: Path) -> AsyncIterator[tuple[Namespace, View]]:
    async with own_namespace() as namespace, trio.open_nursery() as nursery:
        view = View(namespace.table, below)
        await nursery.start(partial(watch_mounts, view.tick, path=namespace.table))
        nursery.start_soon(view.follow)
        yield namespace, view
        nursery.cancel_scope.cancel()


def burst(chance: random.Random, paths: list[str], mounted: Counter[str]) -> list[str]:
    """A few mounts and unmounts with pauses of up to 2 ms, entered into ``mounted`` too."""
    steps = []
    for _ in range(chance.randint(1, 6)):
        path = chance.choice(paths)
        unmount = mounted[path] > 0 and chance.random() < 0.5
        mounted[path] += -1 if unmount else 1
        steps += [
            "-" + path if unmount else "+" + path,
            f"~{chance.choice([0, 0, chance.randint(1, 2000)])}",
        ]
    return steps


async def test_the_last_view_is_never_stale(tmp_path: Path) -> None:
    chance = random.Random(20261123)
    paths = [str(tmp_path / name) for name in "abcdef"]
    mounted: Counter[str] = Counter()
    stale = []
    async with watched(tmp_path) as (namespace, view):
        for number in range(BURSTS):
            await namespace.do(*burst(chance, paths, mounted))
            await trio.sleep(SETTLE_S)  # else a view of the burst's middle may pass for one of its end
            if not await view.becomes(+mounted):
                stale.append(number)
    assert stale == []


async def test_a_change_is_seen_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "persist")
    delays_ms = []
    async with watched(tmp_path) as (namespace, view):
        for _ in range(50):
            view.tick_times.clear()
            (mounted_ns,) = await namespace.do("+" + path)
            assert await view.becomes(Counter([path]))
            delays_ms.append((view.tick_times[0] - mounted_ns) / 1e6)
            await namespace.do("-" + path)
            assert await view.becomes(Counter())
    print(f"mount to tick: median {statistics.median(delays_ms):.2f} ms, longest {max(delays_ms):.2f} ms")
    assert statistics.median(delays_ms) < 50


async def test_what_is_mounted_when_start_returns_is_seen(tmp_path: Path) -> None:
    path = str(tmp_path / "persist")
    for _ in range(20):
        async with watched(tmp_path) as (namespace, view):
            await namespace.do("+" + path)
            assert await view.becomes(Counter([path]))


async def test_it_sleeps_while_nothing_changes(tmp_path: Path) -> None:
    async with watched(tmp_path) as (namespace, view):
        await namespace.do("+" + str(tmp_path / "persist"))
        assert await view.becomes(Counter([str(tmp_path / "persist")]))
        await trio.sleep(0.1)
        view.tick_times.clear()
        wakeups = Wakeups()
        trio.lowlevel.add_instrument(wakeups)
        await trio.sleep(0.5)
        trio.lowlevel.remove_instrument(wakeups)
    assert view.tick_times == []
    assert wakeups.count < 10


async def test_find_mount_agrees_with_the_kernel(tmp_path: Path) -> None:
    chance = random.Random(4)
    paths = [str(tmp_path / path) for path in ("p", "p/q", "p/q/r", "p/s", "t", "t/q")]
    arrived: Counter[bool] = Counter()
    async with own_namespace() as namespace:
        await namespace.do("+/")
        for _ in range(300):
            await namespace.do(step(chance, paths, read_mounts(namespace.table)))
            table = read_mounts(namespace.table)
            for path in ("/", str(tmp_path), *paths):
                here, above, _ = await namespace.do("?" + path)
                found = find_mount(table, path)
                assert (found.mount_id if found else None) == (here if here != above else None), path
                arrived[found is not None] += 1
    assert min(arrived[True], arrived[False]) > 300


def step(chance: random.Random, paths: list[str], table: tuple[Mount, ...]) -> str:
    """A mount anywhere, or an unmount where that is possible."""
    mounted = [path for path in paths if find_mount(table, path)]
    if mounted and chance.random() < 0.4:
        return "-" + chance.choice(mounted)
    return "+" + chance.choice(paths)
