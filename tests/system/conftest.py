"""Fixtures of the tests that need root: volumes, crashes; and the table of what each fault came to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .crash import FaultRun, Recorded
from .faulty import FaultyFile
from .volume import Volume

ROWS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the rows of docs/reliability.md that this run has made."""
    if config.stash[ROWS] and config.get_verbosity() >= 0:
        terminalreporter.section("docs/reliability.md")
        for row in config.stash[ROWS]:
            terminalreporter.write_line(row)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume.make(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def other_volume(tmp_path: Path) -> Iterator[Volume]:
    """A second volume, mounted."""
    (tmp_path / "other").mkdir()
    made = Volume.make(tmp_path / "other")
    made.mount()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def recorded(recorded_vmcore: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded.read(recorded_vmcore, tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def crash(
    tmp_path: Path, volume: Volume, recorded: Recorded, request: pytest.FixtureRequest
) -> Iterator[FaultRun]:
    made = FaultRun(tmp_path, volume, recorded)
    yield made
    made.cleanup()
    for marker in request.node.iter_markers("fault"):
        name, injected = marker.args
        seconds = f"{made.last.seconds:.1f}" if made.last else ""
        row = f"| {name} | {injected} | {made.happened()} | {seconds} | `{request.node.name}` |"
        request.config.stash[ROWS].append(row)


@pytest.fixture
def faulty_vmcore(crash: FaultRun, tmp_path: Path) -> Iterator[FaultyFile]:
    """The recorded vmcore, to be given faults."""
    made = FaultyFile(crash.recorded.vmcore, tmp_path / "vmcore")
    crash.configure("vmcore", path=str(made.path))
    yield made
    made.remove()


@pytest.fixture
def faulty_disk(volume: Volume, tmp_path: Path) -> Iterator[FaultyFile]:
    """The disk under the volume, to be given faults."""
    made = FaultyFile(volume.image, tmp_path / "disk", writable=True)
    volume.attach(made.path)
    yield made
    volume.remove()
    made.remove()


@pytest.fixture
def few_inodes(volume: Volume) -> Volume:
    """The volume, formatted for few files."""
    volume.format("-N", "64")
    return volume
