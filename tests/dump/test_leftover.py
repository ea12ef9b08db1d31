"""What a dump holds although its level excludes it."""

import pytest

from kdumpd.dump.leftover import left_over
from kdumpd.vmcore.pageclasses import Counts

ALL = Counts(free=1, cache=2, private_cache=3, user=4, hugetlb=512)


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (31, "1 free pages, 4 user pages, 512 huge pages, 2 cache pages, 3 private cache pages"),
        (16, "1 free pages"),
        (8, "4 user pages, 512 huge pages"),
        (4, "2 cache pages, 3 private cache pages"),
        (2, "2 cache pages"),
    ],
)
def test_what_the_level_excludes_is_said(level: int, said: str) -> None:
    assert left_over(ALL, level) == f"{said} were not excluded"


@pytest.mark.parametrize("level", [0, 1])
def test_what_it_does_not_exclude_is_not(level: int) -> None:
    assert left_over(ALL, level) is None


def test_a_dump_without_such_pages_has_nothing_left_over() -> None:
    assert left_over(Counts(), 31) is None
