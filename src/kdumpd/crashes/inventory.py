"""The crashes in a folder: record, dump and log of each, joined by the stamp in their names.

A crash without a usable record (EVE's older files have none) is described from its dump and its log. Nothing
is written, root is not needed, and a file that cannot be read affects only its own crash.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from attrs import evolve, frozen

from kdumpd.crashes.artefacts import Artefact, find_artefacts, parse_name
from kdumpd.crashes.record import MAX_RECORD_BYTES, SCHEMA, CrashRecord, Log, parse_record
from kdumpd.dmesg.lines import tail
from kdumpd.dmesg.panic import find_panic
from kdumpd.dump import kdumpfile
from kdumpd.dump.verdict import NO_DUMP, Verdict
from kdumpd.errors import FormatError, KdumpError, StorageError, trouble
from kdumpd.host.folder import is_temporary
from kdumpd.vmcore.headers import parse_vmcoreinfo

DumpState = Literal["complete", "incomplete", "none", "missing", "damaged"]

LATEST: Final = "latest"

# Of a longer log the end is read, where the crash is.
MAX_LOG_BYTES: Final = 64 << 20


@frozen(kw_only=True)
class File:
    """A file that is there, and its size."""

    path: Path
    size_bytes: int


@frozen(kw_only=True)
class Crash:
    """One crash, as its files describe it.

    Attributes:
        stamp: the time part of its files' names.
        record: the record file; where there is no usable one, a record made from dump and log.
        from_record: whether ``record`` is the file's.
        files: its files by kind: ``record``, ``dump``, ``log``.
        dump_state: of the dump file as it is now, not as it was written.
        problems: what is wrong with its files, one line each.
    """

    stamp: str
    record: CrashRecord
    from_record: bool
    files: Mapping[str, File]
    dump_state: DumpState
    problems: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Size of all its files."""
        return sum(file.size_bytes for file in self.files.values())


def read_folder(folder: Path) -> tuple[Crash, ...]:
    """Read every crash in a folder, newest first.

    Raises:
        StorageError: the folder cannot be listed.
    """
    by_stamp: dict[str, list[Artefact]] = {}
    for artefact in reversed(find_artefacts(_names(folder))):
        by_stamp.setdefault(artefact.stamp, []).append(artefact)
    found = (_read_crash(stamp, _files(folder, artefacts)) for stamp, artefacts in by_stamp.items())
    return tuple(crash for crash in found if crash.files)


def left_over(folder: Path) -> tuple[File, ...]:
    """Find what runs that were interrupted left half-written, by name.

    Raises:
        StorageError: the folder cannot be listed.
    """
    paths = [folder / name for name in sorted(_names(folder)) if is_temporary(name)]
    return tuple(file for path in paths if (file := _regular(path)))


def find_crash(name: str, folder: Path) -> Crash:
    """Find one crash: ``latest`` or a stamp in the folder, or a path to a file of it or to its folder.

    Raises:
        StorageError: there is none.
    """
    path = Path(name)
    if path.is_dir():
        return _latest(path)
    if path.is_file():
        return _crash_of(path)
    if name == LATEST:
        return _latest(folder)
    if "/" in name:
        raise StorageError(f"{name}: no such file or folder")
    for crash in read_folder(folder):
        if name == crash.stamp:
            return crash
    raise StorageError(f"{name} is neither a file nor a crash in {folder}")


def times_seen(crashes: Iterable[Crash]) -> Counter[str | None]:
    """How many of these crashes have each fingerprint."""
    return Counter(crash.record.fingerprint for crash in crashes)


def read_log(crash: Crash) -> bytes:
    """Read the crashed kernel's log, its last 64 MiB; empty when there is none.

    Raises:
        StorageError: it cannot be read.
    """
    return _read(crash.files["log"].path, MAX_LOG_BYTES) if "log" in crash.files else b""


def _latest(folder: Path) -> Crash:
    crashes = read_folder(folder)
    if not crashes:
        raise StorageError(f"there is no crash in {folder}")
    return crashes[0]


def _crash_of(path: Path) -> Crash:
    """The crash that a file belongs to; a file with another name stands for itself."""
    artefact = parse_name(path.name)
    if artefact is None:
        return _read_crash(path.name, {_kind(path): File(path=path, size_bytes=path.stat().st_size)})
    return next(crash for crash in read_folder(path.parent) if crash.stamp == artefact.stamp)


def _kind(path: Path) -> str:
    start = _read(path, len(kdumpfile.SIGNATURE), from_end=False)
    return "dump" if start == kdumpfile.SIGNATURE else "log"


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be listed: {trouble(error)}") from error


def _files(folder: Path, artefacts: Iterable[Artefact]) -> dict[str, File]:
    """Find the regular files among these."""
    found = {artefact.kind: _regular(folder / artefact.name) for artefact in artefacts}
    return {kind: file for kind, file in found.items() if file}


def _regular(path: Path) -> File | None:
    """A regular file that is there; a link could lead anywhere, and an export would follow it."""
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            return File(path=path, size_bytes=status.st_size)
    return None


def _read(path: Path, limit: int, *, from_end: bool = True) -> bytes:
    try:
        with path.open("rb") as file:
            if from_end:
                file.seek(max(0, path.stat().st_size - limit))
            return file.read(limit)
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {trouble(error)}") from error


def _read_crash(stamp: str, files: Mapping[str, File]) -> Crash:
    problems: list[str] = []
    record = _record_file(files, problems)
    known = record or _describe(stamp, files, problems)
    state = _state(known, files.get("dump"), problems) if record else known.dump.state
    damaged = "dump" in files and state == "none"
    return Crash(
        stamp=stamp,
        record=known,
        from_record=record is not None,
        files=files,
        dump_state="damaged" if damaged else state,
        problems=tuple(problems),
    )


def _record_file(files: Mapping[str, File], problems: list[str]) -> CrashRecord | None:
    if "record" not in files:
        problems.append("there is no crash record; this is read from the files")
        return None
    file = files["record"]
    try:
        # One byte more than a record may have, so that a longer one is refused and not cut.
        record = parse_record(_read(file.path, MAX_RECORD_BYTES + 1, from_end=False))
    except KdumpError as error:
        problems.append(f"{file.path.name}: {error}; this is read from the other files")
        return None
    if record.schema > SCHEMA:
        problems.append(f"{file.path.name} is of a newer kdumpd; what this one does not know is left out")
    return record


def _state(record: CrashRecord, dump: File | None, problems: list[str]) -> DumpState:
    """Compare the dump as recorded with the file as it is."""
    if dump is None:
        if record.dump.state == "none":
            return "none"
        problems.append(f"the record names {record.dump_name}, which is not here")
        return "missing"
    if dump.size_bytes != record.dump.size_bytes:
        sizes = f"has {dump.size_bytes} bytes, the record says {record.dump.size_bytes}"
        problems.append(f"{dump.path.name} {sizes}")
        return "damaged"
    return record.dump.state


def _describe(stamp: str, files: Mapping[str, File], problems: list[str]) -> CrashRecord:
    """Make a record from dump and log."""
    blank = CrashRecord(
        stamp=stamp,
        crash_time_s=None,
        reason="",
        log=Log(name=None, size_bytes=0, tool=None),
        dump_name=None,
        dump=NO_DUMP,
    )
    try:
        blank = _with_dump(blank, files["dump"]) if "dump" in files else blank
    except KdumpError as error:
        problems.append(f"{files['dump'].path.name}: {error}")
    try:
        return _with_log(blank, files["log"]) if "log" in files else blank
    except KdumpError as error:
        problems.append(str(error))
        return blank


def _with_dump(record: CrashRecord, file: File) -> CrashRecord:
    found = check_dump(file.path)
    header = found.header
    info = parse_vmcoreinfo(header.vmcoreinfo) if header.vmcoreinfo else None
    return evolve(
        record,
        crash_time_s=info.crash_time_s if info else None,
        release=header.release,
        build_id=info.build_id if info else None,
        dump_name=file.path.name,
        dump=Verdict(
            state="complete" if found.complete else "incomplete",
            why=None if found.complete else "pages are missing",
            size_bytes=found.size_bytes,
            compression=header.compression,
            level=header.dump_level,
            pages=found.pages,
            expected_pages=found.expected_pages,
        ),
    )


def check_dump(path: Path) -> kdumpfile.Check:
    """Check a dump file's structure.

    Raises:
        FormatError: it is not a kdump file, is broken, or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FormatError(f"cannot be read: {trouble(error)}") from error
    try:
        return kdumpfile.check(fd)
    finally:
        os.close(fd)


def _with_log(record: CrashRecord, file: File) -> CrashRecord:
    log = tail(_read(file.path, MAX_LOG_BYTES), MAX_LOG_BYTES)
    saved = evolve(record, log=Log(name=file.path.name, size_bytes=file.size_bytes, tool=None))
    found = find_panic(log)
    if found is None:
        return saved
    return evolve(saved.with_panic(found), release=saved.release or found.release)
