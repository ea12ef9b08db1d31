"""The volume that takes dumps: what keeps it from that, and what must stay free on it."""

import pytest
from attrs import evolve
from tests.machines import GIB, PERSIST

from kdumpd.config import StorageSettings as Settings
from kdumpd.host.folder import Space
from kdumpd.host.mounts import Mount
from kdumpd.storage.volume import find_fault, floor_bytes


@pytest.mark.parametrize(
    ("mount", "code", "why"),
    [
        (None, "not-mounted", "/persist is not mounted"),
        (
            evolve(PERSIST, filesystem="tmpfs"),
            "wrong-filesystem",
            "/persist is tmpfs, not one of ext3, ext4, zfs",
        ),
        (evolve(PERSIST, options=frozenset({"ro"})), "read-only", "/persist is mounted read-only"),
    ],
)
def test_what_keeps_a_volume_from_taking_dumps(mount: Mount | None, code: str, why: str) -> None:
    fault = find_fault(mount, Settings())
    assert fault is not None
    assert (fault.code, fault.why) == (code, why)


def test_volume_without_a_fault() -> None:
    assert find_fault(PERSIST, Settings()) is None


@pytest.mark.parametrize(
    ("min_free_bytes", "total_bytes", "floor"),
    [
        ("auto", 100 * GIB, 4 * GIB),
        ("auto", 16 * GIB, 4 * GIB),
        ("auto", 8 * GIB, 2 * GIB),
        (0, 100 * GIB, 0),
        (GIB, 2 * GIB, GIB),
    ],
)
def test_what_a_dump_must_leave_free(min_free_bytes: int | str, total_bytes: int, floor: int) -> None:
    space = Space(free_bytes=GIB, total_bytes=total_bytes)
    assert floor_bytes(Settings(min_free_bytes=min_free_bytes), space) == floor
