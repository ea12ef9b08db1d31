"""The status as metrics: held against Prometheus' own reader, and what a rule would ask of them."""

import shutil
import subprocess

import attrs
import pytest
from tests.machines import ARMED, CRASH, MIB, SAMPLES

from kdumpd.status import remedies
from kdumpd.status.assess import assess
from kdumpd.status.boots import Boot
from kdumpd.status.drill import DrillResult
from kdumpd.status.facts import Facts
from kdumpd.status.lastcrash import Collected
from kdumpd.status.metrics import to_metrics

HOLDING = attrs.evolve(
    ARMED,
    last_crash=attrs.evolve(CRASH, crash_time_s=1795398039, group="9a3f", cause='a "quoted\\ \n\udc80 cause'),
    collected={
        "dump": Collected(files=2, size_bytes=(5 << 30) + 1),
        "other": Collected(files=1, size_bytes=7),
    },
    boot=Boot(boot="one", armed=True, capture_missed=True),
    drill=DrillResult(passed=False, step="capture", text="x"),
)


def samples(facts: Facts) -> dict[str, str]:
    lines = to_metrics(assess(facts)).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_what_a_rule_asks() -> None:
    told = samples(HOLDING)
    assert told["kdumpd_armed"] == "1"
    assert told['kdumpd_not_armed_reason{code="no-space"}'] == "0"
    assert told['kdumpd_warning{code="capture-missed"}'] == "1"
    assert told["kdumpd_capture_missed"] == "1"
    assert told["kdumpd_drill_passed"] == "0"
    assert told["kdumpd_last_crash_timestamp_seconds"] == "1795398039"
    assert told['kdumpd_crash_folder_bytes{kind="dump"}'] == str((5 << 30) + 1)
    assert told['kdumpd_crash_folder_files{kind="other"}'] == "1"
    info = (
        f'kdumpd_last_crash_info{{stamp="{CRASH.stamp}",cause="a \\"quoted\\\\ \\n? cause",'
        'group="9a3f",dump="complete"}'
    )
    assert told[info] == "1"


def test_each_code_has_its_sample_whether_it_applies_or_not() -> None:
    told = samples(SAMPLES["worst"])
    for name, codes in (("not_armed_reason", remedies.REASONS), ("warning", remedies.WARNINGS)):
        there = [told[f'kdumpd_{name}{{code="{code}"}}'] for code in codes]
        assert set(there) == {"0", "1"}


def test_what_is_not_known_has_no_sample() -> None:
    told = samples(SAMPLES["unknown"])
    assert not [name for name in told if name.startswith(("kdumpd_last", "kdumpd_crash", "kdumpd_drill"))]
    assert "kdumpd_dump_room_bytes" not in told
    assert told["kdumpd_armed"] == "0"


def test_room_is_told_in_full_bytes() -> None:
    assert samples(ARMED)["kdumpd_dump_room_bytes"] == str((20 << 30) - 4352 * MIB)


@pytest.mark.system
@pytest.mark.parametrize("facts", [*SAMPLES.values(), HOLDING])
def test_prometheus_reads_it_and_has_no_fault_to_find(facts: Facts) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is needed: scripts/setup --all"
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=to_metrics(assess(facts)).encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
