"""Mount events: a tick after every change of the mount table."""

import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

import trio

from kdumpd.errors import StorageError
from kdumpd.host.mounts import MOUNTINFO


async def watch_mounts(
    tick: Callable[[], None],
    *,
    path: str = MOUNTINFO,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Call ``tick`` after every change of the mount table; made for ``nursery.start``.

    When ``start`` returns, the watch is on: a table read after that, and again after each tick, is never
    stale. Changes close together may share a tick.

    Args:
        tick: must not wait, and must not run the reader itself: it wakes another task, such as by
            ``send_nowait`` to a memory channel of size 1.
        path: the table to watch, a ``/proc/[pid]/mountinfo``.
        task_status: given by ``nursery.start``.

    Raises:
        StorageError: the table cannot be watched.
    """
    with _changes(path) as changes:
        task_status.started()
        while True:
            # wait_readable polls the inner epoll once more when it arms, and that swallows a change that
            # came since the last wake-up. No checkpoint between tick and arming, so the reader that tick
            # woke runs after the arming, and sees that change too.
            await trio.lowlevel.wait_readable(changes)
            tick()


@contextmanager
def _changes(path: str) -> Iterator[select.epoll]:
    """An epoll that is readable once after each change (fs/proc_namespace.c, ``mounts_poll()``).

    The table itself is always readable; only its priority and error conditions tell of a change, and trio
    waits for neither. The epoll holds them, and trio can wait for the epoll.
    """
    with ExitStack() as stack:
        try:
            table = stack.enter_context(open(path, "rb", buffering=0))
            changes = stack.enter_context(select.epoll())
            changes.register(table, select.EPOLLPRI | select.EPOLLERR)
        except OSError as error:
            raise StorageError(f"{path} cannot be watched: {error.strerror}") from error
        yield changes
