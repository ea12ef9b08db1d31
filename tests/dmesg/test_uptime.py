"""How long a kernel was up, from the last line that has a time."""

import pytest

from kdumpd.dmesg.uptime import uptime_s


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (b"", None),
        (b"no time here\n", None),
        (b"[    0.000000] Linux version\n[   73.004431] Kernel panic\n", 73.004431),
        (b"<4>[  123.500000][  T12] CPU: 0\nA program's own line\n", 123.5),
        (b"[99999999999.000001] still up\n", 99999999999.000001),
    ],
)
def test_the_last_time_counts(log: bytes, expected: float | None) -> None:
    assert uptime_s(log) == expected


def test_only_the_end_is_searched() -> None:
    assert uptime_s(b"[    1.000000] first\n" + b"x" * (1 << 20)) is None
