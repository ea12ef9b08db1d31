"""Fixtures of the panics in QEMU."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .scenario import Run, Scenario, crash


@pytest.fixture
def crashed(tmp_path: Path) -> Callable[[Scenario], Run]:
    """Run a scenario in a folder of the test's own, its console shown live under pytest -s."""
    return lambda scenario: crash(scenario, tmp_path)
