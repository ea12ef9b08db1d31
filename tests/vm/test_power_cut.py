"""The power goes at any point of a capture run.

A run in QEMU onto a disk with older artefacts is recorded, every write and flush of it. Then the disk is
rebuilt as of each flush and of points between, where writes that no flush covers are lost, kept in part
or torn; checked the way EVE's next boot checks it; mounted, and judged.
"""

import hashlib
import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest

from kdumpd.dump import kdumpfile

from . import disk, logwrites
from .command import run
from .disk import PersistDisk
from .logwrites import Cut, Epoch
from .mounting import attached, e2fsck, mounted, opened
from .scenario import GIB, MIB, Scenario, crash

pytestmark = pytest.mark.vm

SEED = 20261123
CUTS_BETWEEN_FLUSHES = 8
REASONS = ("reboot-stack", "boot-reason", "reboot-reason")
OLD_STAMPS = [f"202601{day:02}T030201Z" for day in range(1, 6)]
OLD_REASON_S = 1_767_582_121
FOREIGN_LOG = "kcrashes/dmesg-2025-12-31T03:02:01+00:00.log"
LEFT_OVER = "kcrashes/.kdumpd-kdump-20260106T030201Z.dump.tmp"
# five dumps and six logs are there, and of each four stay beside the new one
RETIRED = {
    FOREIGN_LOG,
    *(
        f"kcrashes/{name.format(OLD_STAMPS[0])}"
        for name in ("kdump-{}.dump", "dmesg-{}.log", "crash-{}.json")
    ),
}


@attrs.frozen(kw_only=True)
class FileState:
    """What must not change of a file."""

    digest: str
    mode: int
    mtime_s: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        status = path.stat()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(digest=digest, mode=status.st_mode & 0o7777, mtime_s=int(status.st_mtime))


Files = dict[str, FileState]


def files(root: Path) -> Files:
    """Every regular file below, by its path there."""
    return {str(path.relative_to(root)): FileState.of(path) for path in root.rglob("*") if path.is_file()}


def plant(root: Path) -> None:
    """What the device had before: five crashes' artefacts, EVE's own, others' files, a panic's reasons."""
    chance = random.Random(SEED)
    (root / "kcrashes").mkdir(mode=0o700)
    (root / "vault").mkdir()
    for stamp in OLD_STAMPS:
        (root / f"kcrashes/kdump-{stamp}.dump").write_bytes(chance.randbytes(300_000))
        (root / f"kcrashes/dmesg-{stamp}.log").write_bytes(chance.randbytes(40_000))
        (root / f"kcrashes/crash-{stamp}.json").write_bytes(b'{"schema": 1}\n')
    (root / FOREIGN_LOG).write_bytes(b"a log by EVE's own script\n" * 500)
    (root / LEFT_OVER).write_bytes(chance.randbytes(200_000))
    (root / "kcrashes/notes of a technician.txt").write_bytes(b"leave this here\n")
    (root / "vault/customer.data").write_bytes(chance.randbytes(700_000))
    line = f"kernel panic, kdump collected: /persist/kcrashes/kdump-{OLD_STAMPS[-1]}.dump\n"
    for name, text in zip(REASONS, ("an old stack\n" * 9000, "BootReasonKernel\n", line), strict=True):
        (root / name).write_text(text)
        os.utime(root / name, (OLD_REASON_S, OLD_REASON_S))


@attrs.frozen(kw_only=True)
class RecordedRun:
    """A capture run: the disk before it, its writes, and the files before and after."""

    before: Path
    writes: Path
    old: Files
    new: Files
    stamp: str
    crash_time_s: int

    @property
    def made(self) -> tuple[str, str, str]:
        """The files of this crash: log, dump, record."""
        stamp = self.stamp
        return f"kcrashes/dmesg-{stamp}.log", f"kcrashes/kdump-{stamp}.dump", f"kcrashes/crash-{stamp}.json"

    @property
    def provisional(self) -> str:
        """The verdict while the dump is written."""
        why = "the machine went down while the dump was written"
        return f"kernel panic, dmesg collected: /persist/{self.made[0]} (no kdump: {why})\n"

    @property
    def final(self) -> str:
        return f"kernel panic, kdump collected: /persist/{self.made[1]}\n"

    @property
    def stages(self) -> list[tuple[str | None, ...]]:
        """The sets of reason files that a run goes through, from the old panic's to this one's."""
        old, new = marks(self.old), marks(self.new)
        verdicts = (None, digest(self.provisional), digest(self.final))
        return [old, (*old[:2], None), (new[0], old[1], None), *((*new[:2], verdict) for verdict in verdicts)]


PROVISIONAL, FINAL = 4, 5


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def marks(found: Files) -> tuple[str | None, ...]:
    """What tells one set of reason files from another: content, and of boot-reason the time as well."""
    stack, boot, reason = (found[name].digest if name in found else None for name in REASONS)
    return stack, f"{boot} {found['boot-reason'].mtime_s}" if boot else None, reason


@pytest.fixture(scope="module", params=["ext4", "ext3"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("recording")
    # a file system of this size has blocks of 4096 bytes, as a device's has
    persist = disk.make(folder / "persist.img", size_bytes=1024 * MIB, filesystem=request.param)
    with opened(persist, "rw") as root:
        plant(root)
        old = files(root)
    before = copy(persist.path, folder / "before.img")
    scenario = Scenario(
        memory_bytes=GIB,
        storage_delay_s=0,
        filesystem=request.param,
        # lzo, which the makedumpfile of every host reads
        config='[dump]\ncompression = "lzo"\n[console]\nline_delay_s = 0\n',
    )
    crashed = crash(scenario, folder, persist=persist, write_log=folder / "writes")
    assert crashed.ending == "guest-reset", crashed.text
    with opened(persist, "ro") as root:
        new = files(root)
        (name,) = (name for name in set(new) - set(old) if name.endswith(".json"))
        record = json.loads((root / name).read_text())
    return RecordedRun(
        before=before,
        writes=folder / "writes",
        old=old,
        new=new,
        stamp=record["stamp"],
        crash_time_s=record["crash_time_s"],
    )


def copy(source: Path, target: Path) -> Path:
    """Copy a disk image; what it has no blocks for is not read."""
    run("cp", "--reflink=auto", str(source), str(target))
    return target


def test_recorded_run_lacks_nothing(recording: RecordedRun, tmp_path: Path) -> None:
    old, new = recording.old, recording.new
    assert set(old) - set(new) == {*RETIRED, LEFT_OVER}
    assert set(new) - set(old) == set(recording.made)
    assert new["reboot-reason"].digest == digest(recording.final)
    assert new["boot-reason"].mtime_s == recording.crash_time_s
    persist = PersistDisk(path=copy(recording.before, tmp_path / "replayed.img"))
    for writes in logwrites.read(recording.writes):
        logwrites.replay(recording.writes, writes, persist.path)
    with opened(persist, "ro") as root:
        assert files(root) == new
        assert b"sysrq triggered crash" in log_in(root / recording.made[1], tmp_path / "log")


def log_in(dump: Path, into: Path) -> bytes:
    """The crashed kernel's log, as makedumpfile finds it in a dump."""
    run("makedumpfile", "--dump-dmesg", str(dump), str(into))
    return into.read_bytes()


@attrs.frozen(kw_only=True)
class State:
    """How far a run has come, as a rebuilt disk shows it; every number only grows while it goes on."""

    reasons: int
    log: bool
    dump: bool
    record: bool
    gone: int

    def follows(self, earlier: "State") -> bool:
        """Whether nothing that was durable before is undone."""
        return all(a <= b for a, b in zip(attrs.astuple(earlier), attrs.astuple(self), strict=True))


@attrs.frozen(kw_only=True)
class Judged:
    """What a rebuilt disk came to: how far the run had come, or what is wrong with it."""

    cut: Cut
    state: State | None = None
    repaired: bool = False
    wrong: str = ""


def test_power_cut_at_any_point_leaves_the_truth(recording: RecordedRun, tmp_path: Path) -> None:
    epochs = logwrites.read(recording.writes)
    judged = list(judge_all(recording, epochs, tmp_path, each=CUTS_BETWEEN_FLUSHES))
    wrong = [f"epoch {one.cut.epoch}, {one.cut.what}: {one.wrong}" for one in judged if one.wrong]
    assert not wrong, "\n".join(wrong)
    assert len(judged) >= 300
    # where a block of the file system is torn the disk breaks what ext4 relies on; nowhere else
    assert all(one.cut.what == "one_torn" for one in judged if one.repaired)
    states = [one.state for one in judged if one.state is not None]
    assert {state.reasons for state in states} == set(range(len(recording.stages)))
    durable = [one.state for one in judged if one.state is not None and not one.cut.kept]
    for earlier, later in pairwise(durable):
        assert later.follows(earlier), f"{later} comes after {earlier}"
    repaired = sum(one.repaired for one in judged)
    print(f"{len(judged)} cuts, {len(durable)} of them at a flush; e2fsck repaired {repaired}")


def test_judge_sees_what_missing_flushes_do(recording: RecordedRun, tmp_path: Path) -> None:
    writes = [write for epoch in logwrites.read(recording.writes) for write in epoch]
    judged = list(judge_all(recording, [writes], tmp_path, each=30))
    assert any(one.wrong for one in judged)


def judge_all(
    recording: RecordedRun, epochs: Sequence[Epoch], folder: Path, *, each: int
) -> Iterator[Judged]:
    """Rebuild the disk at every cut, and judge it."""
    cuts = list(logwrites.cuts(epochs, seed=SEED, each=each))
    durable = copy(recording.before, folder / "durable.img")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, writes in enumerate(epochs):
            of_epoch = [cut for cut in cuts if cut.epoch == number]
            yield from pool.map(partial(judge, recording, durable), of_epoch)
            logwrites.replay(recording.writes, writes, durable)


def judge(recording: RecordedRun, durable: Path, cut: Cut) -> Judged:
    """Rebuild the disk at one cut, check it as EVE does, and look."""
    with TemporaryDirectory(dir=durable.parent) as folder:
        persist = PersistDisk(path=copy(durable, Path(folder) / "persist.img"))
        logwrites.replay(recording.writes, cut.kept, persist.path)
        try:
            with attached(persist) as device:
                repaired = check_like_eve(device)
                with mounted(device, "ro") as root:
                    return Judged(cut=cut, state=examine(recording, root), repaired=repaired)
        except FalseError as error:
            return Judged(cut=cut, wrong=str(error))


class FalseError(Exception):
    """What a rebuilt disk must not show."""


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise FalseError(otherwise)


def check_like_eve(device: str) -> bool:
    """Check the file system as storage-init does, which makes it anew at any exit code but 0.

    Returns:
        Whether more than a replay of the journal was needed.
    """
    code, text = e2fsck("-y", device)
    require(code in (0, 1), f"e2fsck -y: exit code {code}\n{text}")
    again, text = e2fsck("-fn", device)
    require(again == 0, f"e2fsck -fn: exit code {again}\n{text}")
    return code == 1


def examine(recording: RecordedRun, root: Path) -> State:
    """How far the run had come, by what is there. Raises FalseError."""
    found = files(root)
    reasons = stage(recording, found, root)
    log, dump, record = (require_whole(recording, found, name) for name in recording.made)
    gone = require_older(recording, found)
    for name in set(found) - set(recording.old) - set(recording.made) - set(REASONS):
        require(re.fullmatch(r"(kcrashes/)?\.kdumpd-.+\.tmp", name) is not None, f"{name} is there")
    require(log or reasons < PROVISIONAL, "the verdict names a log that is not there")
    require(dump or reasons < FINAL, "the verdict names a dump that is not there")
    require(reasons >= PROVISIONAL or not dump, "a dump is there before any verdict")
    require(reasons == FINAL or not record, "a record is there before the final verdict")
    if dump:
        require_complete(root / recording.made[1])
    return State(reasons=reasons, log=log, dump=dump, record=record, gone=len(gone))


def stage(recording: RecordedRun, found: Files, root: Path) -> int:
    """Which of the sets of reason files that a run goes through is there; any other mixture is a lie."""
    texts = {name: (root / name).read_bytes()[:120] for name in REASONS if name in found}
    require(marks(found) in recording.stages, f"the reason files are {texts}")
    return recording.stages.index(marks(found))


def require_whole(recording: RecordedRun, found: Files, name: str) -> bool:
    """Whether a file of this crash is there; and then it is as the finished run left it."""
    require(found.get(name) in (None, recording.new[name]), f"{name} is there and not whole")
    return name in found


def require_older(recording: RecordedRun, found: Files) -> set[str]:
    """All that was there before is, but for what the finished run removed; returns what is gone."""
    changed = {name for name, old in recording.old.items() if found.get(name) != old} - set(REASONS)
    for name in changed:
        require(name not in found and name not in recording.new, f"{name} was lost or changed")
    return changed


def require_complete(dump: Path) -> None:
    with dump.open("rb") as file:
        require(kdumpfile.check(file.fileno()).complete, "the dump is not complete")
