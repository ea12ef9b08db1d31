"""The real machine, as far as it needs no root; and the interface that it shares with the simulated one."""

import threading
from collections.abc import Callable

import pytest
import trio

from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine
from kdumpd.host.threads import Worker
from kdumpd.testing import SimulatedMachine


class NoThreads:
    """A kernel that has no memory for a thread, for so many tries."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self._start = threading.Thread.start

    def start(self, thread: threading.Thread) -> None:
        if self.tries > 0 and thread.name.startswith("Trio thread"):
            self.tries -= 1
            raise RuntimeError("can't start new thread")
        self._start(thread)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], NoThreads]:
    def deny(tries: int) -> NoThreads:
        kernel = NoThreads(tries)
        monkeypatch.setattr(threading.Thread, "start", lambda thread: kernel.start(thread))  # noqa: PLW0108 it binds
        monkeypatch.setattr("trio._core._thread_cache.THREAD_CACHE._idle_workers", {})
        return kernel

    return deny


async def test_a_thread_that_cannot_be_started_is_tried_again(
    no_threads: Callable[[int], NoThreads],
) -> None:
    worker = Worker(LinuxMachine().on_disk)
    kernel = no_threads(2)
    with trio.fail_after(10):
        assert await worker.run(divmod, 7, 2) == (3, 1)
    assert kernel.tries == 0
    assert not worker.busy


async def test_a_worker_without_a_thread_is_free_again(no_threads: Callable[[int], NoThreads]) -> None:
    worker = Worker(LinuxMachine().on_disk)
    kernel = no_threads(1000)
    with trio.move_on_after(0.1) as wait:
        await worker.run(divmod, 7, 2)
    assert wait.cancelled_caught
    assert not worker.busy
    kernel.tries = 0
    assert await worker.run(divmod, 7, 2) == (3, 1)


async def test_an_error_of_the_call_is_not_tried_again() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise RuntimeError("the call's own")

    with pytest.raises(RuntimeError, match="the call's own"):
        await LinuxMachine().on_disk(call)
    assert calls == [1]


def test_a_machine_that_forgets_a_method_cannot_be_made() -> None:
    class Forgetful(SimulatedMachine):
        restart = Machine.restart

    with pytest.raises(TypeError, match="abstract"):
        Forgetful("/nowhere")
    assert not issubclass(SimulatedMachine, LinuxMachine)
