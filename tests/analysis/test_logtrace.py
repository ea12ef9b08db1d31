"""The trace in a log: which calls it has, by the logs of real kernels."""

from pathlib import Path

import attrs
import pytest
from tests import crashfiles
from tests.crashes.test_record import BARE

from kdumpd.analysis.logtrace import Call, find_calls
from kdumpd.crashes.record import CrashRecord
from kdumpd.dmesg.panic import find_panic

TRACES = ("call trace", "Call Trace", "Call trace")


def recorded(log: Path) -> CrashRecord:
    found = find_panic(log.read_bytes())
    assert found is not None
    return attrs.evolve(BARE, symbol=found.symbol, frames=found.frames, panic_text=found.text)


def calls(name: str) -> list[Call]:
    return list(find_calls(recorded(crashfiles.LOGS / name)))


def test_the_place_of_a_fault_comes_first_and_is_exact() -> None:
    first, second, *_ = calls("null-dereference-6.12.log")
    assert first == Call(
        symbol="kdtest_write_null",
        offset=first.offset,
        size_bytes=first.size_bytes,
        module="kdtest",
        returns=False,
    )
    assert second.returns


def test_on_arm64_the_place_is_in_the_trace() -> None:
    found = calls("arm64-null-dereference-6.12.log")
    names = [call.symbol for call in found]
    assert names[0] == recorded(crashfiles.LOGS / "arm64-null-dereference-6.12.log").symbol
    assert len(names) == len(recorded(crashfiles.LOGS / "arm64-null-dereference-6.12.log").frames)


def test_a_panic_has_no_place() -> None:
    found = calls("sysrq-6.12.log")
    assert "sysrq_handle_crash" in [call.symbol for call in found]
    assert all(call.returns for call in found)


@pytest.mark.parametrize("log", sorted(crashfiles.LOGS.glob("*.log")), ids=lambda log: log.stem)
def test_every_frame_of_every_log_has_its_offset(log: Path) -> None:
    found = find_panic(log.read_bytes())
    if found is None:
        return
    record = attrs.evolve(BARE, symbol=found.symbol, frames=found.frames, panic_text=found.text)
    names = [call.symbol for call in find_calls(record)]
    if names and names[0] == found.symbol != next(iter(found.frames), None):
        names.pop(0)
    # A recursion's trace is too long for the record, which keeps its first lines.
    assert names == list(found.frames)[: len(names)]
    assert len(names) == len(found.frames) or found.text[-1].startswith("(")


def test_a_guess_is_no_call() -> None:
    record = attrs.evolve(BARE, frames=("good",), panic_text=(" ? good+0x1/0x2", " good+0x10/0x20 [mod]"))
    assert list(find_calls(record)) == [
        Call(symbol="good", offset=0x10, size_bytes=0x20, module="mod", returns=True)
    ]
