"""The machine itself, proved without kdumpd: makedumpfile called by a hook of the scenario."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .scenario import Run, Scenario

pytestmark = pytest.mark.vm

MAKEDUMPFILE = """
while ! mountpoint -q /persist; do sleep 0.1; done
makedumpfile -l -d 31 /proc/vmcore /persist/dump && sync && umount /persist
echo b > /proc/sysrq-trigger
"""


def test_machine_panics_and_keeps_a_dump(crashed: Callable[[Scenario], Run], tmp_path: Path) -> None:
    run = crashed(Scenario(hooks={"collect": MAKEDUMPFILE}, storage_delay_s=2))
    assert run.ending == "guest-reset", run.text
    assert run.time_of("Kernel panic - not syncing: sysrq triggered crash") < run.time_of(
        "vm: capture kernel"
    )
    dump = run.persist.extract(tmp_path / "persist") / "dump"
    assert dump.read_bytes().startswith(b"KDUMP   ")
    assert not run.persist.fault()
