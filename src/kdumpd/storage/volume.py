"""What a volume needs to take dumps: to be mounted, of an accepted type, writable, with room."""

from typing import Final, Literal

from attrs import frozen

from kdumpd import config
from kdumpd.host.folder import Space
from kdumpd.host.mounts import Mount

LEAST_DUMP_BYTES: Final = 1 << 20
"""No tool opens a dump smaller than this."""


@frozen(kw_only=True)
class Fault:
    """Why a volume cannot take dumps: a stable code, and a clause for people."""

    code: Literal["not-mounted", "wrong-filesystem", "read-only"]
    why: str


def find_fault(mount: Mount | None, settings: config.StorageSettings) -> Fault | None:
    """Why a mount cannot take dumps, as far as the mount table tells; None if it can."""
    if mount is None:
        return Fault(code="not-mounted", why=f"{settings.mountpoint} is not mounted")
    if mount.filesystem not in settings.filesystems:
        wanted = ", ".join(settings.filesystems)
        why = f"{settings.mountpoint} is {mount.filesystem}, not one of {wanted}"
        return Fault(code="wrong-filesystem", why=why)
    if mount.read_only:
        return Fault(code="read-only", why=f"{settings.mountpoint} is mounted read-only")
    return None


# With less than this free on persist, EVE's next boot empties the crash folder before anyone has read it
# (MIN_DISKSPACE in pkg/pillar/scripts/onboot.sh). What is written before that look is small: 256 MiB.
_EVE_LEAST_BYTES: Final = 4096 << 20
_EVE_FLOOR_BYTES: Final = _EVE_LEAST_BYTES + (256 << 20)

# From this size on a volume can have that free beside EVE itself; a smaller one is emptied at every boot.
_EVE_VOLUME_BYTES: Final = 5632 << 20

# EVE's own limit for the dumps of its machines.
_MOST_DUMPS_BYTES: Final = 20 << 30


def floor_bytes(settings: config.StorageSettings, space: Space) -> int:
    """How much a dump must leave free: the setting, or 4352 MiB, or a quarter of a volume under 5.5 GiB."""
    if isinstance(settings.min_free_bytes, int):
        return settings.min_free_bytes
    return _EVE_FLOOR_BYTES if space.total_bytes >= _EVE_VOLUME_BYTES else space.total_bytes // 4


def shortage_bytes(space: Space) -> int:
    """How much is missing to what EVE's boot wants free; 0 on a volume that is too small ever to have it."""
    if space.total_bytes < _EVE_VOLUME_BYTES:
        return 0
    return max(0, _EVE_LEAST_BYTES - space.free_bytes)


def retained_bytes(settings: config.RetentionSettings, space: Space) -> int | None:
    """How much all dumps may take up: the setting, or the smaller of 20 GiB and a quarter of the volume.

    None is no limit.
    """
    if isinstance(settings.max_bytes, int):
        return settings.max_bytes or None
    return min(_MOST_DUMPS_BYTES, space.total_bytes // 4)
