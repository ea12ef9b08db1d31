"""A disk's recorded writes and flushes, and the disk as a power cut at any point would have left it.

QEMU's blklogwrites records in the format of the kernel's dm-log-writes (drivers/md/dm-log-writes.c): a
superblock, then for every request an entry in a sector of its own with its data behind it. A write is
entered when the disk has answered it, a flush when it is asked for: so what stands before a flush is
durable, and what stands after the last one may be there, or not, or in part, in any order.
"""

import os
import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

SECTOR_BYTES = 512
MAGIC = 0x6A736677736872

_SUPERBLOCK = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD = 1, 2, 4


@attrs.frozen(kw_only=True)
class Write:
    """One write: where on the disk, and where in the log its data lies."""

    offset_bytes: int
    size_bytes: int
    data_offset: int

    def torn(self, sectors: int) -> "Write":
        """Its first sectors alone."""
        return attrs.evolve(self, size_bytes=sectors * SECTOR_BYTES)


Epoch = Sequence[Write]


def read(log: Path) -> list[list[Write]]:
    """The writes of a log in order, parted by the flushes between them. Raises ValueError."""
    epochs: list[list[Write]] = [[]]
    with log.open("rb") as file:
        magic, version, count, sector = _SUPERBLOCK.unpack(file.read(_SUPERBLOCK.size))
        if (magic, version, sector) != (MAGIC, 1, SECTOR_BYTES):
            raise ValueError(f"{log} is no write log of {SECTOR_BYTES}-byte sectors")
        offset = SECTOR_BYTES
        for _ in range(count):
            file.seek(offset)
            start, length, flags, _ = _ENTRY.unpack(file.read(_ENTRY.size))
            if flags & (_FUA | _DISCARD):
                raise ValueError(f"{log}: an entry with flags {flags:#x}, which this disk does not offer")
            offset += SECTOR_BYTES
            if length:
                size_bytes = length * SECTOR_BYTES
                write = Write(offset_bytes=start * SECTOR_BYTES, size_bytes=size_bytes, data_offset=offset)
                epochs[-1].append(write)
                offset += size_bytes
            if flags & _FLUSH:
                epochs.append([])
    return epochs


def replay(log: Path, writes: Sequence[Write], disk: Path) -> None:
    """Make writes of a log on a disk image."""
    with log.open("rb") as source, disk.open("r+b") as target:
        for write in writes:
            data = os.pread(source.fileno(), write.size_bytes, write.data_offset)
            os.pwrite(target.fileno(), data, write.offset_bytes)


@attrs.frozen(kw_only=True)
class Cut:
    """A power cut: all epochs before `epoch` are durable, and of it these writes, perhaps in part."""

    epoch: int
    what: str
    kept: tuple[Write, ...]


def cuts(epochs: Sequence[Epoch], *, seed: int, each: int) -> Iterator[Cut]:
    """Cuts right after every flush, and up to `each` more before the next: in order of the log.

    Between two flushes the machine stops after any number of writes, of which the disk has kept all,
    some, or some with one of them torn at a sector boundary.
    """
    chance = random.Random(seed)
    for number, epoch in enumerate(epochs):
        yield Cut(epoch=number, what="the rest dropped", kept=())
        seen: set[tuple[Write, ...]] = {()}
        for turn in range(each if epoch else 0):
            made = _MAKERS[turn % len(_MAKERS)](epoch[: chance.randint(1, len(epoch))], chance)
            if made not in seen:
                seen.add(made)
                yield Cut(epoch=number, what=_MAKERS[turn % len(_MAKERS)].__name__.strip("_"), kept=made)


def _all_kept(writes: Epoch, _: random.Random) -> tuple[Write, ...]:
    return tuple(writes)


def _some_kept(writes: Epoch, chance: random.Random) -> tuple[Write, ...]:
    return tuple(write for write in writes if chance.random() < 0.5)


def _one_torn(writes: Epoch, chance: random.Random) -> tuple[Write, ...]:
    victim = chance.choice(writes)
    sectors = chance.randrange(victim.size_bytes // SECTOR_BYTES)
    kept = [write for write in writes if write is victim or chance.random() < 0.5]
    return tuple(write.torn(sectors) if write is victim else write for write in kept)


_MAKERS = (_one_torn, _some_kept, _all_kept)
