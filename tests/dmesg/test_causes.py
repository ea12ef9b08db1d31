"""One table has all that is particular to a cause, and no cause is forgotten anywhere."""

import json
from pathlib import Path

import pytest

from kdumpd.dmesg.causes import TRAITS, Cause
from kdumpd.dmesg.heads import FATAL_ALONE, HEAD, TITLED_BY_PANIC
from kdumpd.dmesg.panic import find_panic

SCHEMA = Path(__file__).parents[2] / "docs" / "crash-record.schema.json"
# Kinds of lines that are no cause of their own.
NO_CAUSES = {"panic", "end", "boot", "fault"}


def test_every_cause_has_its_traits() -> None:
    assert set(TRAITS) == set(Cause)


def test_every_cause_is_in_the_schema() -> None:
    assert json.loads(SCHEMA.read_text())["properties"]["cause"]["enum"] == [cause.value for cause in Cause]


def test_every_kind_of_report_is_a_cause() -> None:
    kinds = set(HEAD.groupindex) - {"caller"}
    causes = {cause.name.lower() for cause in Cause}
    assert kinds - NO_CAUSES <= causes
    assert kinds >= FATAL_ALONE
    assert kinds >= TITLED_BY_PANIC


@pytest.mark.parametrize("kind", sorted(FATAL_ALONE - {"fault"}))
def test_a_kind_alone_gives_its_cause(kind: str) -> None:
    lines = {
        "hung_task": "INFO: task a:1 blocked for more than 9 seconds.",
        "soft_lockup": "BUG: soft lockup - CPU#1 stuck for 22s! [a:1]",
        "hard_lockup": "Watchdog detected hard LOCKUP on cpu 1",
        "rcu_stall": "rcu: INFO: rcu_sched self-detected stall on CPU",
        "nmi": "NMI: PCI system error",
        "machine_check": "mce: [Hardware Error]: CPU 2: Machine Check Exception: 5",
        "sysrq": "sysrq: Trigger a crash",
    }
    panic = find_panic(lines[kind].encode())
    assert panic is not None
    assert panic.cause is Cause[kind.upper()]
