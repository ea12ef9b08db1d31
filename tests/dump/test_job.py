"""One dump: what a written file is worth, what is said on the way, and what becomes of it when it is left."""

from collections.abc import Iterator

import pytest
import trio
from attrs import evolve
from tests.simulated import check, open_descriptors
from trio.testing import MockClock

from kdumpd import config
from kdumpd.dump.job import DumpJob
from kdumpd.dump.kdumpfile import Check, Header
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.dump.stream import Limit, Progress
from kdumpd.dump.tools import probe, survey
from kdumpd.dump.verdict import Verdict, judge, not_private
from kdumpd.errors import DumpError
from kdumpd.testing import SimulatedFolder, SimulatedMachine

HEADER = Header(
    version=6,
    nodename="edge",
    release="6.12.28",
    machine="x86_64",
    status=2,
    block_bytes=4096,
    sub_header_blocks=1,
    bitmap_blocks=2,
    max_mapnr=1000,
    dump_level=31,
    vmcoreinfo=b"",
)
WHOLE = Check(header=HEADER, pages=50, expected_pages=50, size_bytes=200000)
PART = evolve(WHOLE, pages=20)
REPORT = PageReport(
    total_pages=1000,
    kept_pages=50,
    zero_pages=0,
    cache_pages=100,
    private_cache_pages=0,
    user_pages=200,
    free_pages=650,
    hwpoison_pages=0,
    offline_pages=0,
    hole_pages=0,
    written_bytes=200000,
)
KEEPS_FREE = evolve(REPORT, free_pages=0)
SETTINGS = config.DumpSettings()
KEEP = config.DumpSettings(on_unfiltered="keep")

Worth = tuple[str, str | None]


@pytest.mark.parametrize(
    ("checked", "report", "cut", "settings", "worth"),
    [
        (WHOLE, REPORT, None, SETTINGS, ("complete", None)),
        (WHOLE, REPORT, "it was cut", SETTINGS, ("incomplete", "it was cut")),
        (PART, REPORT, "it was cut", SETTINGS, ("incomplete", "it was cut")),
        (PART, REPORT, None, SETTINGS, ("incomplete", "only 20 of 50 pages were written")),
        (evolve(PART, pages=0), REPORT, "it was cut", SETTINGS, ("none", "it was cut")),
        (WHOLE, KEEPS_FREE, None, SETTINGS, ("none", "free pages were not excluded")),
        (WHOLE, KEEPS_FREE, None, KEEP, ("complete", None)),
        (PART, KEEPS_FREE, "it was cut", SETTINGS, ("none", "it was cut; free pages were not excluded")),
        (PART, KEEPS_FREE, "it was cut", KEEP, ("incomplete", "it was cut")),
        (WHOLE, None, None, SETTINGS, ("none", "it is not known which pages were excluded")),
        (WHOLE, REPORT, None, config.DumpSettings(level=1), ("none", "its dump level is 31, not 1")),
    ],
)
def test_what_a_file_is_worth(
    checked: Check, report: PageReport | None, cut: str | None, settings: config.DumpSettings, worth: Worth
) -> None:
    state, why = worth
    verdict = judge(checked, report, cut, settings)
    assert (verdict.state, verdict.why) == (state, why)
    assert verdict.size_bytes == (0 if verdict.unfiltered and state == "none" else checked.size_bytes)
    assert verdict.report == report


@pytest.mark.parametrize(
    ("level", "report", "trouble"),
    [
        (31, REPORT, None),
        (31, evolve(REPORT, user_pages=0), "user pages were not excluded"),
        (31, evolve(REPORT, cache_pages=0), "cache pages were not excluded"),
        (8, evolve(REPORT, free_pages=0, cache_pages=0), None),
        (1, None, None),
        (0, None, None),
        (16, None, "it is not known which pages were excluded"),
    ],
)
def test_privacy(level: int, report: PageReport | None, trouble: str | None) -> None:
    assert not_private(level, report, level) == trouble


@pytest.mark.parametrize(
    ("percent", "size_bytes", "elapsed_s", "line"),
    [
        (None, 0, 0.0, "dump: preparing, 0.0 MiB, 0.0 MiB/s"),
        (0.0, 0, 3.0, "dump: preparing, 0.0 MiB, 0.0 MiB/s"),
        (25.0, 10 << 20, 5.0, "dump: 25.0 %, 10.0 MiB, 2.0 MiB/s, 15 s left"),
        (100.0, 10 << 20, 5.0, "dump: 100.0 %, 10.0 MiB, 2.0 MiB/s, 0 s left"),
    ],
)
def test_a_line_of_progress(percent: float | None, size_bytes: int, elapsed_s: float, line: str) -> None:
    assert Progress(percent=percent, size_bytes=size_bytes, elapsed_s=elapsed_s).line() == line


@pytest.fixture
def folder(simulated_machine: SimulatedMachine) -> Iterator[SimulatedFolder]:
    simulated_machine.mount()
    opened = simulated_machine.open_folder("/persist")
    yield opened
    opened.close()


def dump_in(folder: SimulatedFolder, machine: SimulatedMachine, limit: Limit | None = None) -> DumpJob:
    return DumpJob(
        folder=folder,
        name="dump",
        settings=SETTINGS,
        machine=machine,
        vmcore="/proc/vmcore",
        compression="lzo",
        limit=limit,
    )


async def test_a_whole_one(
    folder: SimulatedFolder, simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    taking = dump_in(folder, simulated_machine)
    assert taking.verdict.why == "the machine went down while the dump was written"
    verdict = await taking.run()
    assert verdict == taking.verdict
    assert (verdict.state, verdict.level, verdict.compression, verdict.pages) == ("complete", 31, "lzo", 64)
    assert taking.progress().percent == 100
    assert "-l" in simulated_machine.makedumpfile.runs[0]


async def test_advance_is_told_and_stalls_are_not(
    folder: SimulatedFolder, simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    advanced: list[float] = []
    simulated_machine.makedumpfile.seconds = 10
    simulated_machine.makedumpfile.fail("dump", "stall", at=0.5)
    taking = DumpJob(
        folder=folder,
        name="dump",
        settings=SETTINGS,
        machine=simulated_machine,
        vmcore="/proc/vmcore",
        compression="lzo",
        advance=lambda: advanced.append(trio.current_time()),
    )
    await taking.run()
    streaming = [at_s for at_s in advanced if at_s < 60]
    assert len(streaming) > 5
    assert max(streaming) < 7
    # The steps after it have allowances of their own: the watchdog is petted while the dump is sealed.
    assert min(set(advanced) - set(streaming)) == pytest.approx(max(streaming) + 60, abs=0.1)


async def test_a_limit_is_never_crossed(
    folder: SimulatedFolder, simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    verdict = await dump_in(folder, simulated_machine, Limit(size_bytes=120000, why="no more room")).run()
    assert (verdict.state, verdict.why) == ("incomplete", "no more room")
    assert (simulated_machine.files() / "dump").stat().st_size <= 120000
    assert check(simulated_machine.files() / "dump").header.incomplete


async def test_a_dump_whose_end_is_late_is_not_published_any_more(
    folder: SimulatedFolder, simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    """What was reported as no dump must not turn up as one later."""
    before = open_descriptors()
    size_bytes = len(simulated_machine.makedumpfile.dump(31, "lzo"))
    simulated_machine.disk.freeze(after_bytes=size_bytes)
    verdict = await dump_in(folder, simulated_machine).run()
    assert verdict == Verdict(state="none", why="the dump was written; storage does not answer")
    simulated_machine.disk.thaw()
    assert list(simulated_machine.files().iterdir()) == []
    assert open_descriptors() <= before


async def test_the_folder_may_be_closed_while_a_thread_hangs_in_it(
    folder: SimulatedFolder, simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.disk.freeze(after_bytes=50000)
    await dump_in(folder, simulated_machine).run()
    assert (simulated_machine.files() / ".kdumpd-dump.1.tmp").exists()
    folder.close()
    simulated_machine.disk.thaw()
    assert list(simulated_machine.files().iterdir()) == []


async def test_a_file_that_cannot_be_made(
    folder: SimulatedFolder, simulated_machine: SimulatedMachine, autojump_clock: MockClock
) -> None:
    simulated_machine.disk.fail()
    verdict = await dump_in(folder, simulated_machine).run()
    assert verdict == Verdict(state="none", why="/persist: Input/output error")
    assert simulated_machine.processes == []


async def test_probe_and_survey(simulated_machine: SimulatedMachine, autojump_clock: MockClock) -> None:
    found = await probe(simulated_machine, "makedumpfile")
    assert found.version == "1.7.8"
    assert sorted(found.compressions) == ["lzo", "none", "zlib", "zstd"]
    report = await survey(simulated_machine, SETTINGS, "/proc/vmcore")
    assert report is not None
    assert report.free_pages == 120000
    simulated_machine.makedumpfile.fail("survey", "exit")
    assert await survey(simulated_machine, SETTINGS, "/proc/vmcore") is None
    simulated_machine.makedumpfile.fail("version", "stall")
    with pytest.raises(DumpError, match="makedumpfile -v hangs"):
        await probe(simulated_machine, "makedumpfile")
