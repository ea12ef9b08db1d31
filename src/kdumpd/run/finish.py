"""The end of a run: what it came to, and the last step, which normally restarts the machine."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio
from attrs import frozen

from kdumpd.config import Config
from kdumpd.crashes.record import CrashRecord
from kdumpd.host.machine import Machine

_SYNC_S: Final = 30.0


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


@frozen(kw_only=True)
class Ending:
    """What the last step gets.

    Attributes:
        outcome: what the run came to.
        config: the settings of the run.
        machine: the machine to act on.
        say: puts a line on the console.
        extend: sets the deadline at which the machine restarts by itself to so many seconds from now;
            None is never.
    """

    outcome: Outcome
    config: Config
    machine: Machine
    say: Callable[[str], None]
    extend: Callable[[float | None], None]


Finish = Callable[[Ending], Awaitable[None]]
"""The last step of a run: called with the ``Ending`` once the evidence is final on disk."""


async def restart_machine(ending: Ending) -> None:
    """Sync, unmount, wait as ``kernel.panic`` says, and restart."""
    machine, config = ending.machine, ending.config
    await _leave_clean(ending)
    timeout_s = machine.panic_timeout_s(config.reboot.panic_timeout)
    ending.say(describe_restart(config, timeout_s))
    if timeout_s == 0:
        ending.extend(None)
        await trio.sleep_forever()
    if timeout_s is not None and timeout_s > 0:
        ending.extend(timeout_s + config.budget.grace_s)
        await trio.sleep(timeout_s)
    if trouble := machine.restart(config.reboot.method):
        ending.say(f"the restart failed: {trouble}")


async def describe_only(ending: Ending) -> None:  # noqa: ASYNC124 a Finish is async
    """Say what ``restart_machine`` would do, and do none of it."""
    mountpoint = ending.config.storage.mountpoint
    timeout_s = ending.machine.panic_timeout_s(ending.config.reboot.panic_timeout)
    ending.say(
        f"without --no-reboot: sync, unmount {mountpoint}, {describe_restart(ending.config, timeout_s)}"
    )


def describe_restart(config: Config, timeout_s: int | None) -> str:
    """One line: when the restart comes, and by which method."""
    method = config.reboot.method
    if timeout_s is None:
        return f"restart at once by {method} ({config.reboot.panic_timeout} cannot be read)"
    if timeout_s == 0:
        return "stay here until someone restarts the machine (kernel.panic is 0)"
    return f"restart {'at once' if timeout_s < 0 else f'in {timeout_s} s'} by {method}"


async def _leave_clean(ending: Ending) -> None:
    """Leave the file systems clean, also when cancelled; the restart does not wait for a disk that hangs."""
    mountpoint = ending.config.storage.mountpoint
    with trio.move_on_after(_SYNC_S, shield=True) as bound:
        trouble = await ending.machine.on_disk(ending.machine.make_clean, mountpoint)
        if trouble:
            ending.say(f"{mountpoint} stays mounted: {trouble}")
        await ending.machine.on_disk(ending.machine.sync)
    if bound.cancelled_caught:
        ending.say(f"sync hangs: going on without it after {_SYNC_S:g} s")
