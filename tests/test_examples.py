"""The examples do what they say; each is run on a simulated machine, or as it is where that will do."""

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
import trio
from tests.simulated import COMPLETE, reason
from trio.testing import MockClock

import kdumpd
from kdumpd.testing import SimulatedMachine

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "examples"
TRIED = {"wait_for_storage", "capture_with_progress", "notify_then_reboot", "test_service", "asyncio_service"}


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples.{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_example_is_tried() -> None:
    assert {file.stem for file in FOLDER.glob("*.py")} == TRIED


async def test_wait_for_storage(
    simulated_machine: SimulatedMachine, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    async def boot() -> None:
        await trio.sleep(30)
        simulated_machine.mount()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot)
        assert await example("wait_for_storage").load_state(simulated_machine) == "/dev/vdb1"
    assert (simulated_machine.files() / "last-start").read_bytes() == b"now\n"
    assert capsys.readouterr().out.splitlines()[1:] == [
        "no device labelled P3 yet, /persist is not mounted",
        "/dev/vdb1 has 65536 MiB free",
    ]


async def test_wait_for_storage_that_does_not_come(
    simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    with pytest.raises(trio.TooSlowError):
        await example("wait_for_storage").load_state(simulated_machine)
    assert trio.current_time() == 60


async def test_capture_with_progress(
    simulated_machine: SimulatedMachine, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    simulated_machine.mount()
    simulated_machine.makedumpfile.seconds = 5
    verdict = await example("capture_with_progress").capture("/persist/my.dump", simulated_machine)
    assert verdict.state == "complete"
    *bars, last = capsys.readouterr().out.split("\r")
    full = [bar.split("]")[0].count("#") for bar in bars]
    assert len(full) >= 5
    assert full == sorted(full)
    assert full[0] < 10
    assert bars[-1] == f"[{'#' * 40}] 100.0 %      0.3 MiB"
    assert last == "\n/persist/my.dump: complete\n"


def test_capture_without_makedumpfile() -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "capture_with_progress.py", "/nonexistent/my.dump"],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "no dump: makedumpfile not found\n")


async def test_notify_then_reboot(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    sent: list[bytes] = []

    async def send(message: bytes) -> None:  # noqa: ASYNC124 a Send is async
        assert "restart by sysrq" not in simulated_machine.journal
        sent.append(message)

    simulated_machine.mount()
    await example("notify_then_reboot").collect(send, simulated_machine)
    assert [json.loads(message) for message in sent] == [
        {"reason": COMPLETE, "fingerprint": "187c69ce8a12d7a1"}
    ]
    assert simulated_machine.journal[-1] == "restart by sysrq"


@pytest.mark.parametrize("trouble", ["refused", "slow"])
async def test_a_server_that_fails_does_not_stop_the_restart(
    simulated_machine: SimulatedMachine, trouble: str, autojump_clock: MockClock
) -> None:
    async def send(_message: bytes) -> None:
        if trouble == "refused":
            raise ConnectionRefusedError("refused")
        await trio.sleep_forever()

    simulated_machine.mount()
    await example("notify_then_reboot").collect(send, simulated_machine)
    said = {"refused": "refused", "slow": "timeout"}[trouble]
    assert f"kdumpd: the fleet server was not told: {said}" in simulated_machine.console.lines()
    assert simulated_machine.journal[-1] == "restart by sysrq"
    assert reason(simulated_machine) == f"{COMPLETE}\n"


def test_a_services_own_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", FOLDER / "test_service.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout


def test_on_asyncio(tmp_path: Path) -> None:
    machine = SimulatedMachine(tmp_path / "disk")
    machine.mount()
    assert asyncio.run(example("asyncio_service").serve(machine)) == "/dev/vdb1"


def test_a_cancel_on_asyncio_reaches_trio(tmp_path: Path) -> None:
    module, machine = example("asyncio_service"), SimulatedMachine(tmp_path / "disk")
    waiting = threading.Event()

    async def wait() -> kdumpd.Storage:
        return await kdumpd.wait_for_storage(machine=machine, tell=lambda _line: waiting.set())

    async def main() -> None:
        task = asyncio.create_task(module.run_trio(wait))
        await asyncio.to_thread(waiting.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert machine.leftovers() == []

    asyncio.run(main())


def test_an_error_on_trio_reaches_asyncio() -> None:
    async def fail() -> None:  # noqa: ASYNC124 trio code is
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        asyncio.run(example("asyncio_service").run_trio(fail))
