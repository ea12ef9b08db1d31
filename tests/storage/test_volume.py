"""The volume that takes dumps: what keeps it from that, and what must stay free on it."""

import pytest
from attrs import evolve
from tests.machines import GIB, PERSIST

from kdumpd.config import RetentionSettings
from kdumpd.config import StorageSettings as Settings
from kdumpd.host.folder import Space
from kdumpd.host.mounts import Mount
from kdumpd.storage.volume import find_fault, floor_bytes, retained_bytes

MIB = 1 << 20


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
        ("auto", 100 * GIB, 4352 * MIB),
        ("auto", 12 * GIB, 4352 * MIB),
        ("auto", 5632 * MIB, 4352 * MIB),
        ("auto", 5632 * MIB - 4, 1408 * MIB - 1),
        ("auto", 2 * GIB, 512 * MIB),
        (0, 100 * GIB, 0),
        (GIB, 2 * GIB, GIB),
    ],
)
def test_what_a_dump_must_leave_free(min_free_bytes: int | str, total_bytes: int, floor: int) -> None:
    space = Space(free_bytes=GIB, total_bytes=total_bytes)
    assert floor_bytes(Settings(min_free_bytes=min_free_bytes), space) == floor


@pytest.mark.parametrize(
    ("max_bytes", "total_bytes", "retained"),
    [
        ("auto", 100 * GIB, 20 * GIB),
        ("auto", 8 * GIB, 2 * GIB),
        (0, 8 * GIB, None),
        (GIB, 2 * GIB, GIB),
    ],
)
def test_how_much_all_dumps_may_take_up(max_bytes: int | str, total_bytes: int, retained: int | None) -> None:
    space = Space(free_bytes=GIB, total_bytes=total_bytes)
    assert retained_bytes(RetentionSettings(max_bytes=max_bytes), space) == retained
