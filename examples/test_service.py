"""How a service tests its crash handling: no root, no disk, and a wait of minutes in milliseconds.

``simulated_machine`` comes with kdumpd, ``autojump_clock`` with pytest-trio.
Run it as it is:  pytest examples/test_service.py
"""

import pytest
import trio
from trio.testing import MockClock

import kdumpd
from kdumpd.testing import SimulatedMachine


async def keep_evidence(machine: kdumpd.Machine) -> str:
    """The service under test: it collects a crash on slow storage, and restarts nothing."""
    config = kdumpd.Config(storage=kdumpd.StorageSettings(wait_s=300))
    outcome = await kdumpd.supervise(config, machine=machine, finish=kdumpd.describe_only)
    return outcome.reason


@pytest.mark.trio
async def test_storage_that_comes_late(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    async def boot() -> None:
        await trio.sleep(200)
        simulated_machine.attach_partition("P3", "/dev/vdb1")
        await trio.sleep(20)
        simulated_machine.mount("/persist")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot)
        reason = await keep_evidence(simulated_machine)

    assert reason.startswith("kernel panic, kdump collected: /persist/kcrashes/kdump-")
    [crash] = kdumpd.read_crashes(simulated_machine.files("/dev/vdb1") / "kcrashes")
    assert crash.record.cause == "null-dereference"
    assert crash.dump_state == "complete"


@pytest.mark.trio
async def test_a_disk_that_dies_in_the_middle(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount("/persist")
    simulated_machine.disk.fail(after_bytes=100_000)
    reason = await keep_evidence(simulated_machine)
    assert "Input/output error" in reason


@pytest.mark.trio
async def test_a_makedumpfile_that_hangs(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.mount("/persist")
    simulated_machine.makedumpfile.fail("dump", "stall", at=0.8)
    reason = await keep_evidence(simulated_machine)
    assert reason.endswith("(incomplete: no progress for 60 s)")
    assert simulated_machine.leftovers() == []
