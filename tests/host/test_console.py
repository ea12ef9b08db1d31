"""Lines to consoles: paced, in order, and no target waits for another. Virtual time, but for real writes."""

import errno
import os
import stat
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from kdumpd.host.console import Console, write_line
from kdumpd.testing import SimulatedConsole

ONE = "/dev/console"
TWO = "/dev/ttyS0"


def console_on(simulated: SimulatedConsole, *targets: str, line_delay_s: float = 0.2) -> Console:
    return Console(targets or (ONE,), write=simulated.write_line, line_delay_s=line_delay_s)


async def drained(console: Console) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(console.run)
        await console.drain()
        nursery.cancel_scope.cancel()


async def test_shown_lines_are_paced(autojump_clock: MockClock) -> None:
    simulated = SimulatedConsole()
    console = console_on(simulated)
    console.show(["a", "b", "c"])
    await drained(console)
    assert [(line.at_s, line.text) for line in simulated.written] == [
        (0, "a"),
        (pytest.approx(0.2), "b"),
        (pytest.approx(0.4), "c"),
    ]


async def test_own_lines_go_ahead_of_paced_ones(autojump_clock: MockClock) -> None:
    simulated = SimulatedConsole()
    console = console_on(simulated, line_delay_s=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(console.run)
        console.show(["a", "b"])
        await trio.sleep(0.5)
        console.say("hello")
        await console.drain()
        nursery.cancel_scope.cancel()
    assert [(line.at_s, line.text) for line in simulated.written] == [
        (0, "a"),
        (0.5, "kdumpd: hello"),
        (1, "b"),
    ]


async def test_a_blocked_target_is_given_up_and_holds_up_no_other(autojump_clock: MockClock) -> None:
    simulated = SimulatedConsole()
    simulated.block(TWO)
    console = console_on(simulated, ONE, TWO)
    console.say("first")
    console.say("second")
    await drained(console)
    assert simulated.lines(ONE) == ["kdumpd: first", "kdumpd: second"]
    assert simulated.lines(TWO) == []
    assert console.lost == {TWO: "blocked for 5 s"}
    assert trio.current_time() == pytest.approx(5)


async def test_a_target_that_blocked_gets_what_waits_for_it(autojump_clock: MockClock) -> None:
    simulated = SimulatedConsole()
    simulated.block(TWO)
    console = console_on(simulated, ONE, TWO)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(console.run)
        console.say("first")
        await trio.sleep(20)
        simulated.mend(TWO)
        console.say("outcome")
        await trio.sleep(1)
        await console.drain()
        nursery.cancel_scope.cancel()
    assert simulated.lines(TWO) == ["kdumpd: first", "kdumpd: outcome"]
    assert console.lost == {TWO: "blocked for 5 s"}


async def test_a_target_that_refuses_is_tried_again(autojump_clock: MockClock) -> None:
    simulated = SimulatedConsole()
    simulated.fail(TWO, errno.ENXIO)
    console = console_on(simulated, TWO)
    console.say("first")
    console.show(["a", "b"])
    await drained(console)
    assert console.lost == {TWO: "No such device or address"}
    simulated.mend(TWO)
    console.say("second")
    await drained(console)
    assert simulated.lines(TWO) == ["kdumpd: second"]


async def test_a_flood_of_own_lines_keeps_the_latest(autojump_clock: MockClock) -> None:
    simulated = SimulatedConsole()
    console = console_on(simulated)
    for number in range(200):
        console.say(str(number))
    await drained(console)
    assert simulated.lines()[0] == "kdumpd: 136"
    assert simulated.lines()[-1] == "kdumpd: 199"


async def test_without_targets_nobody_waits(autojump_clock: MockClock) -> None:
    console = Console((), write=SimulatedConsole().write_line, line_delay_s=0.2)
    console.show(["a"])
    await drained(console)


def test_a_line_is_appended_to_a_file(tmp_path: Path) -> None:
    target = tmp_path / "log"
    target.write_text("before\n")
    write_line(str(target), "a line")
    assert target.read_text() == "before\na line\n"


def test_a_target_is_never_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_line(str(tmp_path / "console"), "a line")
    assert list(tmp_path.iterdir()) == []


def test_a_line_fits_a_kernel_log_record(tmp_path: Path) -> None:
    target = tmp_path / "log"
    target.touch()
    write_line(str(target), "x" * 5000)
    assert target.stat().st_size == 901


def test_a_pipe_without_a_reader_is_an_error_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", stat.S_IRUSR | stat.S_IWUSR)
    with pytest.raises(OSError, match="No such device or address"):
        write_line(str(tmp_path / "fifo"), "a line")
