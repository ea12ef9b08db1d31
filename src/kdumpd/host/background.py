"""Tasks in the background of a block of code."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """A nursery for tasks that serve the block and end with it.

    An error of the block comes out as it is, and not in a group: whoever wrote the block need not know that
    there are tasks.
    """
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:
            failed = error
        nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed
