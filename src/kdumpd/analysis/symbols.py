"""The debug symbols that belong to a dump: in a vmlinux, a folder, or ``kernel-debug.tar``.

They are matched before anything slow: by build id or, since EVE links some kernels without one, by the
addresses of the symbols that VMCOREINFO names. An archive is unpacked once and kept in the user's cache;
split DWARF (``.dwo`` files, CONFIG_DEBUG_INFO_SPLIT) keeps its places beside vmlinux, where readers look.
"""

import contextlib
import hashlib
import mmap
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self

from attrs import frozen

from kdumpd.analysis.elf import MAGIC, Elf, Forwards, read_elf, symbol_addresses
from kdumpd.analysis.progress import Progress
from kdumpd.crashes import archive
from kdumpd.crashes.record import CrashRecord
from kdumpd.dump.kdumpfile import Header
from kdumpd.errors import ConfigError, FormatError, StorageError, trouble
from kdumpd.vmcore.headers import parse_vmcoreinfo

# What of an archive is of use: the kernel, its split DWARF, modules and their separate debug files.
_WANTED: Final = (".dwo", ".ko", ".debug")

# Of what was unpacked so many stay, those that were used last: a kernel's symbols are some 600 MB.
_KEPT: Final = 4


@frozen(kw_only=True)
class Kernel:
    """The kernel that crashed.

    Attributes:
        machine: as ``uname -m`` says it; None when only a log is left.
        release: as ``uname -r`` says it.
        build_id: hex digits; None when it was linked without.
        addresses: where it was linked to put some of its symbols.
    """

    machine: str | None
    release: str | None
    build_id: str | None
    addresses: Mapping[str, int]

    @classmethod
    def of_dump(cls, header: Header) -> Self:
        """Read it from a dump's header.

        Raises:
            FormatError: the header has no VMCOREINFO.
        """
        info = parse_vmcoreinfo(header.vmcoreinfo)
        return cls(
            machine=header.machine,
            release=header.release,
            build_id=_real(info.build_id),
            addresses=_linked(info.values),
        )

    @classmethod
    def of_record(cls, record: CrashRecord) -> Self:
        """Read it from a crash record, where there is no dump."""
        return cls(machine=None, release=record.release, build_id=_real(record.build_id), addresses={})


@frozen(kw_only=True)
class Symbols:
    """Debug symbols that belong to the dump.

    Attributes:
        vmlinux: the kernel's.
        root: the folder in which to look for those of modules.
        machine: as ``uname -m`` says it.
    """

    vmlinux: Path
    root: Path
    machine: str

    def of_module(self, name: str) -> Iterator[Path]:
        """The files that may hold a module's symbols, by its name; "-" and "_" are the same there."""
        if self.root == self.vmlinux:
            return
        for path in sorted(self.root.rglob("*.ko*")):
            stem = path.name.removesuffix(".debug").removesuffix(".ko")
            if stem.replace("-", "_") == name and path.is_file():
                yield path


def find_symbols(path: Path, kernel: Kernel, progress: Progress) -> Symbols:
    """Find the debug symbols of a kernel.

    Args:
        path: a vmlinux, a folder with one in it, or an archive of such a folder.
        kernel: the kernel that they must belong to.
        progress: told of what takes long.

    Raises:
        ConfigError: there are none, or they are another kernel's; the text names both.
        FormatError: they are damaged.
        StorageError: they cannot be read or unpacked.
    """
    if path.is_dir():
        return _choose(_kernels_in(path), kernel, path, root=path)
    if archive.is_archive(path):
        root = _unpacked(path, kernel, progress)
        return _choose(_kernels_in(root), kernel, path, root=root)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    if not _is_elf(path):
        raise ConfigError(f"{path}: neither a vmlinux, nor a folder or an archive with one")
    return _choose([path], kernel, path, root=path)


def _choose(candidates: Iterable[Path], kernel: Kernel, where: Path, *, root: Path) -> Symbols:
    """The first that belongs to the kernel; else say what is wrong with the last."""
    wrong = "there is no vmlinux in it"
    for path in candidates:
        try:
            with path.open("rb") as file:
                elf = read_elf(file)
                why = _mismatch(elf, kernel) or (
                    None if elf.build_id and kernel.build_id else _apart(file, kernel)
                )
        except FormatError as error:
            why = f"vmlinux is damaged: {error}"
        except OSError as error:
            raise StorageError(f"{path}: {trouble(error)}") from error
        if why is None:
            return Symbols(vmlinux=path, root=root, machine=elf.machine)
        wrong = why
    raise ConfigError(f"{where}: {wrong}")


def _mismatch(elf: Elf, kernel: Kernel) -> str | None:
    """Say why an ELF file cannot be the kernel, or None; cheap."""
    if elf.machine != (kernel.machine or elf.machine):
        return f"these symbols are of {elf.machine}, the dump is of {kernel.machine}"
    if kernel.build_id and elf.build_id and elf.build_id != kernel.build_id:
        return f"these symbols have build id {elf.build_id}, the kernel that crashed has {kernel.build_id}"
    return None


def _apart(file: IO[bytes], kernel: Kernel) -> str | None:
    """Where build ids do not tell: compare where symbols lie or, for a log alone, the release."""
    if kernel.addresses:
        found = symbol_addresses(file, kernel.addresses)
        elsewhere = [name for name, address in found.items() if address != kernel.addresses[name]]
        if found and not elsewhere:
            return None
        what = f"{elsewhere[0]} is elsewhere" if elsewhere else "they have none of the dump's symbols"
        return f"there is no build id to compare, and these symbols do not fit {kernel.release}: {what}"
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if kernel.release and data.find(f"Linux version {kernel.release} ".encode()) >= 0:
            return None
    return f"there is no build id to compare, and these symbols do not name {kernel.release}"


def _linked(vmcoreinfo: Mapping[str, str]) -> dict[str, int]:
    """The link addresses of the symbols in VMCOREINFO: KASLR moved all of them by one offset."""
    found = {key[7:-1]: value for key, value in vmcoreinfo.items() if key.startswith("SYMBOL(")}
    try:
        moved = int(vmcoreinfo.get("KERNELOFFSET", "0"), 16)
        return {name: int(value, 16) - moved for name, value in found.items()}
    except ValueError:
        return {}


def _kernels_in(folder: Path) -> list[Path]:
    """Every file that may be the kernel, the likely ones first."""
    named = [*folder.rglob("vmlinux*"), *folder.rglob(".build-id/*/*.debug")]
    return [path for path in named if path.is_file() and _is_elf(path)]


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise StorageError(f"{path}: {trouble(error)}") from error


def _real(build_id: str | None) -> str | None:
    """A kernel that was linked without a build id reports zeros."""
    return build_id if build_id and build_id.strip("0") else None


def _unpacked(path: Path, kernel: Kernel, progress: Progress) -> Path:
    """The folder in the cache that the archive is unpacked in; unpacked now, if it fits the kernel."""
    status = path.stat()
    name = hashlib.sha256(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    home = _cache()
    if not (home / name).is_dir():
        progress.step(f"looking into {path.name}")
        with archive.reading(path) as tar:
            _require_kernel(tar, path, kernel)
        progress.step(f"unpacking {path.name}")
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=home) as work:
            with archive.reading(path) as tar:
                _unpack(tar, path, Path(work) / name, progress)
            with contextlib.suppress(FileExistsError):
                (Path(work) / name).rename(home / name)
    with contextlib.suppress(OSError):  # a cache that cannot be tidied serves all the same
        os.utime(home / name)
        _forget_oldest(home)
    return home / name


def _forget_oldest(home: Path) -> None:
    """Remove what was used longest ago; so goes in time what an unpacking that was killed left."""
    newest_first = sorted(home.iterdir(), key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
    for folder in newest_first[_KEPT:]:
        shutil.rmtree(folder)


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdumpd/symbols"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{home}: {trouble(error)}") from error
    return home


def _require_kernel(tar: tarfile.TarFile, path: Path, kernel: Kernel) -> None:
    wrong = "there is no vmlinux in it"
    while (member := tar.next()) is not None:
        if not archive.inside(member.name):
            raise FormatError(f"{path}: {member.name!r} leads out of the folder; nothing of it was unpacked")
        content = tar.extractfile(member) if _is_kernel(member) else None
        if content is None:
            continue
        try:
            why = _mismatch(read_elf(Forwards(content)), kernel)
        except FormatError as error:
            why = f"{member.name}: {error}"
        if why is None:
            return
        wrong = why
    raise ConfigError(f"{path}: {wrong}")


def _is_kernel(member: tarfile.TarInfo) -> bool:
    return member.isreg() and PurePosixPath(member.name).name.startswith("vmlinux")


def _unpack(tar: tarfile.TarFile, path: Path, folder: Path, progress: Progress) -> None:
    done = 0
    folder.mkdir()
    while (member := tar.next()) is not None:
        if not archive.inside(member.name):
            raise FormatError(f"{path}: {member.name!r} leads out of the folder")
        if not (_is_kernel(member) or (member.isreg() and member.name.endswith(_WANTED))):
            continue
        if member.size > (room := shutil.disk_usage(folder).free):
            raise StorageError(
                f"{path}: {member.size >> 20} MiB to unpack, {room >> 20} MiB free in {_cache()}"
            )
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        archive.copy_out(tar, member, target)
        done += member.size
        progress.amount(done)
