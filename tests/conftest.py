"""Fixtures of more than one kind of test."""

from pathlib import Path

import pytest

from .vm import recording


@pytest.fixture(scope="session")
def recorded_vmcore() -> Path:
    """The vmcore of a real panic, as a file; recorded in QEMU when it is first asked for. Needs root."""
    return recording.vmcore()
