"""The machine of whole runs."""

import pytest

from kdumpd.testing import SimulatedMachine


@pytest.fixture
def machine(simulated_machine: SimulatedMachine) -> SimulatedMachine:
    """A machine whose storage is ready."""
    simulated_machine.attach_partition()
    simulated_machine.mount()
    return simulated_machine
