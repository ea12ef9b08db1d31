"""The pytest plugin: the fixture ``simulated_machine``.

pytest loads this in every project that has kdumpd installed, so nothing is imported before it is asked for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kdumpd.testing.machine import SimulatedMachine


@pytest.fixture
def simulated_machine(tmp_path: Path) -> "Iterator[SimulatedMachine]":
    """A simulated machine that has crashed and whose storage is not there yet."""
    from kdumpd.testing.machine import SimulatedMachine  # noqa: PLC0415

    machine = SimulatedMachine(tmp_path / "disk")
    yield machine
    machine.disk.thaw()
