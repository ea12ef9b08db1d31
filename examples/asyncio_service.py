"""A service on asyncio: kdumpd runs in a thread of its own, with a loop of its own, and can be cancelled.

Run it as it is:  python examples/asyncio_service.py
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

import kdumpd

T = TypeVar("T")


async def run_trio(call: Callable[[], Awaitable[T]]) -> T:
    """Await trio code from asyncio. A cancel of the asyncio task cancels it, and waits until it is over."""
    scope, results = trio.CancelScope(), list[T]()
    tokens: list[trio.lowlevel.TrioToken] = []
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        loop.call_soon_threadsafe(started.set)
        with scope:
            results.append(await call())

    thread = asyncio.ensure_future(asyncio.to_thread(trio.run, main))
    try:
        await asyncio.shield(thread)
    except asyncio.CancelledError:
        await started.wait()  # noqa: ASYNC102 asyncio cancels once
        with contextlib.suppress(trio.RunFinishedError):
            tokens[0].run_sync_soon(scope.cancel)
        await thread  # noqa: ASYNC102
        raise
    return results[0]


async def serve(machine: kdumpd.Machine | None = None) -> str:
    """Wait for storage for at most a minute, as part of an asyncio program."""

    async def wait() -> str:
        storage = await kdumpd.wait_for_storage(machine=machine, tell=print)
        storage.close()
        return storage.mount.source

    async with asyncio.timeout(60):
        return await run_trio(wait)


if __name__ == "__main__":
    print(asyncio.run(serve()))
