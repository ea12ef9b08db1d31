"""The end of a run: what it came to, and the last step, which normally restarts the machine."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import trio
from attrs import field, frozen

from kdumpd.config import Config
from kdumpd.crashes.record import CrashRecord
from kdumpd.host.machine import Machine


@frozen(kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        reason: the line of ``reboot-reason``.
        record: the crash record.
        complete: everything that was wanted was collected and is durable.
    """

    reason: str
    record: CrashRecord
    complete: bool


async def _nothing() -> None:  # noqa: ASYNC124 stands for a drain
    """There is no console to drain."""


@frozen(kw_only=True)
class FinishContext:
    """What the last step gets.

    Attributes:
        outcome: what the run came to.
        config: the settings of the run.
        machine: the machine to act on.
        say: puts a line on the console.
        extend: sets the deadline at which the machine restarts by itself, and the last step ends, to so many
            seconds from now; None is never.
        leaving: the scope of the step that leaves the file systems clean, of so many seconds at most.
        drain: waits, for a moment, until what was said is out.
        restarting: called before a restart: the hardware watchdog goes on, should the restart fail.
    """

    outcome: Outcome
    config: Config
    machine: Machine
    say: Callable[[str], None]
    extend: Callable[[float | None], None]
    leaving: Callable[[float], AbstractContextManager[trio.CancelScope]] = field(
        default=lambda most_s: trio.move_on_after(most_s, shield=True)  # noqa: ASYNC122 entered at once
    )
    drain: Callable[[], Awaitable[None]] = field(default=_nothing)
    restarting: Callable[[], None] = field(default=lambda: None)


Finish = Callable[[FinishContext], Awaitable[None]]
"""The last step of a run: called with the ``FinishContext`` once the evidence is final on disk."""


async def restart_machine(context: FinishContext) -> None:
    """Sync, unmount, wait as ``kernel.panic`` says, and restart; also when the wait is cancelled."""
    machine, config = context.machine, context.config
    context.restarting()
    await _leave_clean(context)
    timeout_s = machine.panic_timeout_s(config.reboot.panic_timeout)
    context.say(describe_restart(config, timeout_s))
    if timeout_s == 0:
        context.extend(None)
        await trio.sleep_forever()
    try:
        if timeout_s is not None and timeout_s > 0:
            context.extend(timeout_s + config.budget.grace_s)
            await trio.sleep(timeout_s)
        else:
            await context.drain()
    finally:
        if trouble := machine.restart(config.reboot.method):
            context.say(f"the restart failed: {trouble}")


async def describe_only(context: FinishContext) -> None:  # noqa: ASYNC124 a Finish is async
    """Say what ``restart_machine`` would do, and do none of it."""
    mountpoint = context.config.storage.mountpoint
    timeout_s = context.machine.panic_timeout_s(context.config.reboot.panic_timeout)
    context.say(
        f"without --no-reboot: sync, unmount {mountpoint}, {describe_restart(context.config, timeout_s)}"
    )


def describe_restart(config: Config, timeout_s: int | None) -> str:
    """One line: when the restart comes, and by which method."""
    method = config.reboot.method
    if timeout_s is None:
        return f"restart at once by {method} ({config.reboot.panic_timeout} cannot be read)"
    if timeout_s == 0:
        return "stay here until someone restarts the machine (kernel.panic is 0)"
    return f"restart {'at once' if timeout_s < 0 else f'in {timeout_s} s'} by {method}"


async def _leave_clean(context: FinishContext) -> None:
    """Leave the file systems clean, also when cancelled; the restart does not wait for a disk that hangs."""
    mountpoint = context.config.storage.mountpoint
    began = trio.current_time()
    with context.leaving(context.config.dump.stall_s) as bound:
        trouble = await context.machine.on_disk(context.machine.make_clean, mountpoint)
        if trouble:
            context.say(f"{mountpoint} cannot be made read-only: {trouble}")
            context.say("the next boot will find it as after a power cut: what was collected is there")
        await context.machine.on_disk(context.machine.sync)
    if bound.cancelled_caught:
        context.say(f"sync hangs: going on without it after {trio.current_time() - began:.0f} s")
