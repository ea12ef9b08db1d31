"""A stand-in for makedumpfile: all that kdumpd asks of it, as fast as a test wants, and every way to fail."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

import trio
from attrs import define, field, frozen

from kdumpd.testing.kdumpfile import END, flattened_records, make_kdump, make_record
from kdumpd.testing.programs import Program, SimulatedProcess

Job = Literal["version", "log", "survey", "dump"]
How = Literal["exit", "kill", "stall", "end", "garbage", "bad-record", "endless", "flood"]

_PAGE_REPORT: Final = """
Original pages  : 0x{total:016x}
  Excluded pages   : 0x{excluded:016x}
    Pages filled with zero  : 0x{zero:016x}
    Non-private cache pages : 0x{cache:016x}
    Private cache pages     : 0x{private_cache:016x}
    User process data pages : 0x{user:016x}
    Free pages              : 0x{free:016x}
    Hwpoison pages          : 0x0000000000000000
    Offline pages           : 0x0000000000000000
  Remaining pages  : 0x{kept:016x}
Memory Hole     : 0x0000000000000000
--------------------------------------------------
Total pages     : 0x{total:016x}
Write bytes     : {written}
"""


@frozen(kw_only=True)
class Failure:
    """How a run of the stand-in goes wrong.

    Attributes:
        how: ``exit`` with a message; ``kill`` by a signal; ``stall`` for ever; ``end`` early, as if all
            were well; ``garbage`` instead of a stream; a ``bad-record`` with an impossible offset;
            ``endless`` records; a ``flood`` of messages for ever.
        at: when, as a part of the dump's bytes from 0 to 1; 0 is before the first byte.
        code: the exit code, or the number of the signal.
        message: its last words.
        unkillable: not even SIGKILL ends it.
    """

    how: How
    at: float = 0.0
    code: int = 1
    message: str = ""
    unkillable: bool = False


@define(kw_only=True)
class SimulatedMakedumpfile:
    """The ``makedumpfile`` of a simulated machine.

    Attributes:
        log: what ``--dump-dmesg`` writes: asks the machine for the crashed kernel's log.
        dump: makes the dump: a kdump file for the wanted level and compression.
        version: its version.
        compressions: which optional ones were built in: ``lzo``, ``zstd``.
        seconds: how long a dump takes, in trio's time; progress is reported once a second.
        survey_s: how long the count of pages takes.
        excluded: pages of each class that it reports as excluded, where the level excludes that class.
        failures: what goes wrong, by job.
        runs: the arguments of every run so far.
    """

    log: Callable[[], bytes]
    dump: Callable[[int, str], bytes] = field(
        default=lambda level, name: make_kdump(level=level, compression=name)
    )
    version: str = "1.7.8"
    compressions: tuple[str, ...] = ("lzo", "zstd")
    seconds: float = 0.0
    survey_s: float = 0.0
    excluded: dict[str, int] = field(
        factory=lambda: {"zero": 900, "cache": 4000, "private_cache": 300, "user": 9000, "free": 120000}
    )
    failures: dict[Job, Failure] = field(factory=dict)
    runs: list[tuple[str, ...]] = field(factory=list)

    def fail(self, job: Job, how: How, *, at: float = 0.0, code: int = 1, message: str = "") -> None:
        """Let every further run of a job fail; see ``Failure``."""
        self.failures[job] = Failure(how=how, at=at, code=code, message=message)

    async def __call__(self, process: SimulatedProcess) -> int:
        """Run as a program."""
        self.runs.append(process.argv)
        job = _job(process.argv)
        failure = self.failures.get(job)
        process.unkillable = failure is not None and failure.unkillable
        if job == "dump":
            return await self._write_dump(process, failure)
        if failure is not None:
            return await self._fail(process, failure)
        if job == "version":
            await process.write_stdout(self._version_text())
        elif job == "log":
            await process.write_stdout(self.log())
        else:
            await trio.sleep(self.survey_s)
            await process.write_stderr(self._report(_level(process.argv), b""))
        return 0

    def _version_text(self) -> bytes:
        lines = [f"makedumpfile: version {self.version} (released on 1 Jan 2026)"]
        lines += [
            f"{name}\t{'en' if name in self.compressions else 'dis'}abled"
            for name in ("lzo", "snappy", "zstd")
        ]
        return "\n".join([*lines, ""]).encode()

    def _report(self, level: int, dump: bytes) -> bytes:
        bits: Mapping[str, int] = {"zero": 1, "cache": 2, "private_cache": 4, "user": 8, "free": 16}
        counts = {name: self.excluded.get(name, 0) if level & bit else 0 for name, bit in bits.items()}
        excluded, kept = sum(counts.values()), 64
        text = _PAGE_REPORT.format(
            total=excluded + kept, excluded=excluded, kept=kept, written=len(dump), **counts
        )
        return text.encode()

    async def _write_dump(self, process: SimulatedProcess, failure: Failure | None) -> int:
        level = _level(process.argv)
        dump = self.dump(level, _compression(process.argv, self.compressions))
        stop = failure.at * len(dump) if failure is not None and failure.at < 1 else float("inf")
        records = tuple(flattened_records(dump))
        written, began = 0, trio.current_time()
        for record in records:
            if failure is not None and written >= stop:
                return await self._fail(process, failure)
            await self._pace(process, written / len(dump), began)
            await process.write_stdout(record)
            written += len(record)
        await process.write_stderr(_progress(1.0) + self._report(level, dump))
        return 0 if failure is None else await self._fail(process, failure)

    async def _pace(self, process: SimulatedProcess, part: float, began: float) -> None:
        """Wait until this part of the dump is due, reporting progress once a second."""
        due = began + part * self.seconds
        while trio.current_time() < due:
            await process.write_stderr(_progress((trio.current_time() - began) / self.seconds))
            await trio.sleep(min(1.0, due - trio.current_time()))

    async def _fail(self, process: SimulatedProcess, failure: Failure) -> int:
        if failure.message:
            await process.write_stderr(f"{failure.message}\n".encode())
        for data in _bytes_of(failure.how):
            await process.write_stdout(data)
        while failure.how == "flood":
            await process.write_stderr(b"The kernel version is not supported.\n" * 100)
            await trio.sleep(0.1)  # or virtual time would stand still
        if failure.how == "stall" or failure.unkillable:
            await trio.sleep_forever()
        if failure.how == "kill":
            return -failure.code
        return failure.code if failure.how == "exit" else 0


def _bytes_of(how: How) -> Iterator[bytes]:
    """What a failing dump still writes to its standard output."""
    if how == "garbage":
        yield b"not a flattened stream\n" * 1000
    elif how == "bad-record":
        yield make_record(-5, b"data") + END
    elif how == "endless":
        offset = 1 << 20
        while True:
            yield make_record(offset, bytes(65536))
            offset += 65536


def _progress(part: float) -> bytes:
    return f"\rCopying data                                      : [{part * 100:5.1f} %] \\".encode()


def _job(argv: tuple[str, ...]) -> Job:
    jobs: dict[str, Job] = {"-v": "version", "--dump-dmesg": "log", "--dry-run": "survey"}
    return next((job for option, job in jobs.items() if option in argv), "dump")


def _level(argv: tuple[str, ...]) -> int:
    return int(argv[argv.index("-d") + 1]) if "-d" in argv else 0


def _compression(argv: tuple[str, ...], built_in: tuple[str, ...]) -> str:
    """As makedumpfile does it: one that was not built in is ignored."""
    asked = {"-c": "zlib", "-l": "lzo", "-z": "zstd"}
    found = next((name for option, name in asked.items() if option in argv), "none")
    return found if found in (*built_in, "zlib") else "none"


def vmcore_dmesg(log: Callable[[], bytes]) -> Program:
    """The ``vmcore-dmesg`` of a simulated machine: the crashed kernel's log on standard output."""

    async def run(process: SimulatedProcess) -> int:
        await process.write_stdout(log())
        return 0

    return run
