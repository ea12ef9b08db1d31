"""Calls left behind in real threads: what they opened is closed, and nothing is closed under them."""

import threading

import pytest
import trio

from kdumpd.host.linux import LinuxMachine
from kdumpd.host.threads import Worker


class Slow:
    """A call that hangs until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.done: list[str] = []

    def __call__(self, result: str = "result") -> str:
        self.begun.set()
        assert self.gate.wait(10)
        self.done.append(result)
        return result


async def leave_behind(worker: Worker, slow: Slow, undone: list[str] | None = None) -> None:
    """Begin a call and be cancelled while it hangs."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await worker.run(slow, undo=None if undone is None else undone.append)

        nursery.start_soon(run)
        await trio.to_thread.run_sync(slow.begun.wait)
        nursery.cancel_scope.cancel()


async def test_a_call_returns_its_result() -> None:
    worker = Worker(LinuxMachine().on_disk)
    assert await worker.run(divmod, 7, 2) == (3, 1)
    assert not worker.busy


async def test_an_error_of_the_call_is_the_callers() -> None:
    worker = Worker(LinuxMachine().on_disk)
    with pytest.raises(ZeroDivisionError):
        await worker.run(divmod, 7, 0)
    assert not worker.busy


async def test_a_call_left_behind_goes_on_and_its_result_is_undone() -> None:
    worker, slow, undone = Worker(LinuxMachine().on_disk), Slow(), list[str]()
    await leave_behind(worker, slow, undone)
    assert worker.busy
    slow.gate.set()
    with trio.fail_after(10):
        await worker.idle()
    assert slow.done == ["result"]
    while not undone:
        await trio.sleep(0.01)
    assert undone == ["result"]


async def test_a_result_that_somebody_waits_for_is_not_undone() -> None:
    undone: list[tuple[int, int]] = []
    assert await Worker(LinuxMachine().on_disk).run(divmod, 7, 2, undo=undone.append) == (3, 1)
    assert undone == []


async def test_cancelled_before_it_began_a_call_is_not_made() -> None:
    worker, made = Worker(LinuxMachine().on_disk), list[int]()
    with trio.CancelScope() as scope:
        scope.cancel()
        await worker.run(made.append, 1)
    assert made == []
    assert not worker.busy
    await worker.run(made.append, 2)
    assert made == [2]


async def test_the_next_call_waits_for_the_one_left_behind() -> None:
    worker, slow = Worker(LinuxMachine().on_disk), Slow()
    await leave_behind(worker, slow)
    with trio.move_on_after(0.05) as too_early:
        await worker.run(slow.done.append, "next")
    assert too_early.cancelled_caught
    slow.gate.set()
    await worker.run(slow.done.append, "next")
    assert slow.done == ["result", "next"]


async def test_what_comes_afterwards_waits_for_the_call_that_is_out() -> None:
    worker, slow = Worker(LinuxMachine().on_disk), Slow()
    worker.afterwards(lambda: slow.done.append("at once"))
    await leave_behind(worker, slow)
    worker.afterwards(lambda: slow.done.append("afterwards"))
    assert slow.done == ["at once"]
    slow.gate.set()
    with trio.fail_after(10):
        while len(slow.done) < 3:
            await trio.sleep(0.01)
    assert slow.done == ["at once", "result", "afterwards"]


async def test_an_undo_that_fails_on_the_disk_hurts_nobody() -> None:
    worker, slow, tried = Worker(LinuxMachine().on_disk), Slow(), list[str]()

    def fail(result: str) -> None:
        tried.append(result)
        raise OSError(5, "I/O error")

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await worker.run(slow, undo=fail)

        nursery.start_soon(run)
        await trio.to_thread.run_sync(slow.begun.wait)
        nursery.cancel_scope.cancel()
    worker.afterwards(lambda: slow.done.append("afterwards"))
    slow.gate.set()
    with trio.fail_after(10):
        while len(slow.done) < 2:
            await trio.sleep(0.01)
    assert tried == ["result"]
