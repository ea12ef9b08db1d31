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


def floor_bytes(settings: config.StorageSettings, space: Space) -> int:
    """How much a dump must leave free: the setting, or the smaller of 4 GiB and a quarter of the volume.

    Under 4096 MiB free, EVE's next boot empties the crash folder before anyone has read it.
    """
    if isinstance(settings.min_free_bytes, int):
        return settings.min_free_bytes
    return min(4 << 30, space.total_bytes // 4)
