"""A service that waits for storage, follows it, and collects crashes in a way of its own."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import trio

import kdumpd

Notify = Callable[[str], None]


async def remember_start(notify: Notify, *, machine: kdumpd.Machine | None = None) -> bool:
    """Count this start on /persist; False when there is no storage within two minutes."""
    with trio.move_on_after(120):
        storage = await kdumpd.wait_for_storage(tell=notify, machine=machine)
        with closing(storage):
            await kdumpd.commit_file("/persist/started", b"yes\n", machine=machine)
        return True
    return False


async def follow_storage(notify: Notify, *, machine: kdumpd.Machine | None = None) -> None:
    """Say whenever storage comes or goes, until cancelled."""
    there: bool | None = None
    async with kdumpd.mount_changes(machine=machine) as changes:
        async for table in changes:
            mount = kdumpd.find_mount(table, "/persist")
            now = mount is not None and not mount.read_only
            if now != there:
                notify("storage is there" if now else "no storage")
            there = now


async def collect(notify: Notify, *, machine: kdumpd.Machine | None = None) -> kdumpd.Outcome:
    """Collect a crash with small budgets; notify before the restart."""
    config = kdumpd.Config(
        storage=kdumpd.StorageSettings(wait_s=30),
        dump=kdumpd.DumpSettings(time_s=60, stall_s=10),
        budget=kdumpd.BudgetSettings(total_s=120, grace_s=5),
        watchdog=kdumpd.WatchdogSettings(device=""),
    )

    async def finish(ending: kdumpd.FinishContext) -> None:
        notify(ending.outcome.reason)
        await kdumpd.restart_machine(ending)

    return await kdumpd.supervise(config, machine=machine, finish=finish)


async def dump_to(path: str, *, machine: kdumpd.Machine | None = None) -> str:
    """Make one dump; returns what became of it."""
    sizes: list[int] = []

    def note(progress: kdumpd.Progress) -> None:
        sizes.append(progress.size_bytes)

    try:
        verdict = await kdumpd.capture_dump(path, progress=note, machine=machine)
    except kdumpd.KdumpError as error:
        return f"failed: {error}"
    return verdict.why or f"{verdict.state}, {sizes[-1]} bytes"


def fingerprints(folder: Path) -> set[str | None]:
    """The fingerprints of all crashes in a folder."""
    return {crash.record.fingerprint for crash in kdumpd.read_crashes(folder)}
