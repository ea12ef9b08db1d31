"""The service's own tests, with the fixture that kdumpd's wheel brings."""

import trio
from trio.testing import MockClock

import sample_service
from kdumpd.testing import SimulatedMachine, make_vmcoreinfo


async def test_storage_comes(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_mount_after, 100, simulated_machine)
        assert await sample_service.remember_start(said.append, machine=simulated_machine)
    assert (simulated_machine.files() / "started").read_bytes() == b"yes\n"
    assert said[-1] == "no device labelled P3 yet, /persist is not mounted"


async def test_storage_does_not_come(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    assert not await sample_service.remember_start(print, machine=simulated_machine)
    assert trio.current_time() == 120


async def _mount_after(seconds: float, machine: SimulatedMachine) -> None:
    await trio.sleep(seconds)
    machine.mount()


async def test_storage_is_followed(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    said: list[str] = []
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            await sample_service.follow_storage(said.append, machine=simulated_machine)

        nursery.start_soon(follow)
        await trio.sleep(1)
        simulated_machine.mount(read_only=True)
        await trio.sleep(1)
        simulated_machine.remount(read_only=False)
        await trio.sleep(1)
        simulated_machine.unmount()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert said == ["no storage", "storage is there", "no storage"]


async def test_a_crash_is_collected(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    said: list[str] = []
    simulated_machine.vmcoreinfo_note = make_vmcoreinfo(crash_time_s=1800000000)
    simulated_machine.mount()
    outcome = await sample_service.collect(said.append, machine=simulated_machine)
    assert outcome.complete
    assert said == ["kernel panic, kdump collected: /persist/kcrashes/kdump-20270115T080000Z.dump"]
    assert simulated_machine.journal[-1] == "restart by sysrq"
    folder = simulated_machine.files() / "kcrashes"
    assert sample_service.fingerprints(folder) == {outcome.record.fingerprint}


async def test_a_dump(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    simulated_machine.mount()
    told = await sample_service.dump_to("/persist/x", machine=simulated_machine)
    assert told == f"complete, {(simulated_machine.files() / 'x').stat().st_size} bytes"


async def test_no_dump(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    simulated_machine.programs.clear()
    simulated_machine.mount()
    told = await sample_service.dump_to("/persist/x", machine=simulated_machine)
    assert told == "failed: makedumpfile not found"
