"""Reading what the crash left: one failure costs one thing, and an endless list ends."""

import itertools
from collections.abc import Iterator

from kdumpd.analysis.findings import Part
from kdumpd.analysis.gather import part, parts, text


def broken(values: int) -> Iterator[int]:
    yield from range(values)
    raise ValueError("bad\n  pointer")


def test_a_section_or_why_there_is_none() -> None:
    assert part(lambda: 7) == Part(found=7)
    assert part(lambda: next(broken(0))) == Part(found=None, missing="bad pointer")


def test_a_list_that_breaks_off_is_kept_so_far() -> None:
    assert parts(lambda: broken(3), str) == Part(found=("0", "1", "2"), missing="after 3 bad pointer")
    assert parts(lambda: broken(0), str) == Part(found=None, missing="bad pointer")


def test_what_cannot_be_described_is_left_out() -> None:
    found = parts(lambda: [1, 0, 2, 0], lambda value: 10 // value)
    assert found == Part(found=(10, 5), missing="2 could not be read: integer division or modulo by zero")


def test_an_empty_list_is_whole() -> None:
    assert parts(list, str) == Part(found=())


def test_an_endless_list_ends() -> None:
    found = parts(lambda: itertools.repeat(1), lambda value: value)
    assert found.found is not None
    assert len(found.found) == 100_000


def test_the_kernels_text_is_made_safe() -> None:
    assert text(b"a\x1b[2Jb\xff") == "a\\x1b[2Jb\\xff"
