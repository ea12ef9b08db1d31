"""Fixtures of the panics in QEMU."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest

from .evidence import Evidence
from .scenario import Run, Scenario, crash


@pytest.fixture
def crashed(tmp_path: Path) -> Callable[[Scenario], Run]:
    """Run a scenario in a folder of the test's own."""
    return lambda scenario: crash(scenario, tmp_path)


@pytest.fixture(scope="session")
def collected() -> Iterator[Callable[[Scenario], Evidence]]:
    """Run a scenario once, however many tests look at it; what it left goes when all tests are done."""
    known: dict[Scenario, Evidence] = {}

    def collect(scenario: Scenario) -> Evidence:
        if scenario not in known:
            files = Path(mkdtemp(dir=folder))
            known[scenario] = Evidence.of(crash(scenario, files), files / "persist")
        return known[scenario]

    with TemporaryDirectory(prefix="kdumpd-vm-") as folder:
        yield collect
