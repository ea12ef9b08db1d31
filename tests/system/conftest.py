"""Fixtures of the tests that need root: real volumes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .volume import Volume


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume.make(tmp_path)
    yield made
    made.remove()
