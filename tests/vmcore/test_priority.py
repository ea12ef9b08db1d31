"""Which pages an analyst needs first, and in what order."""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.makememory import DIRECT_MAP, PAGE, at, page

from kdumpd.vmcore.priority import first_needed


@attrs.frozen(kw_only=True)
class FakeMemory:
    """Memory in which frame N is at DIRECT_MAP + N pages."""

    pages: Mapping[int, bytes]
    image: range = range(0)
    first: Sequence[int] = ()
    page_bytes: int = PAGE

    def landmarks(self) -> Iterator[int]:
        yield from self.first

    def read(self, frame: int) -> bytes | None:
        return self.pages.get(frame)

    def find(self, address: int) -> int | None:
        assert address % PAGE == 0
        frame = (address - DIRECT_MAP) // PAGE
        return frame if frame in self.pages else None


def order(memory: FakeMemory, *, without: int | None = None) -> list[int]:
    return list(first_needed(memory, lambda frame: frame != without))


def test_landmarks_come_first_then_the_image_from_its_end() -> None:
    memory = FakeMemory(pages={n: page() for n in (1, 2, 50, 51, 52)}, image=range(50, 53), first=(2, 1))
    assert order(memory) == [2, 1, 52, 51, 50]


def test_what_is_pointed_to_comes_by_turns_with_the_image() -> None:
    pages = {50: page(), 51: page(), 52: page(at(10) + 8, at(20)), 10: page(at(30)), 20: page(), 30: page()}
    assert order(FakeMemory(pages=pages, image=range(50, 53))) == [52, 10, 51, 20, 50, 30]


def test_the_nearest_come_first() -> None:
    chain = {n: page(at(n + 10)) for n in range(100, 160, 10)}
    memory = FakeMemory(pages=chain | {200: page()}, first=(100, 120))
    assert order(memory) == [100, 120, 110, 130, 140, 150]


def test_a_pointer_leads_to_its_page_and_the_next_three() -> None:
    memory = FakeMemory(pages={1: page(at(10) + 100)} | {n: page() for n in range(9, 16)}, first=(1,))
    assert order(memory) == [1, 10, 11, 12, 13]


def test_what_is_not_kept_is_neither_given_nor_followed() -> None:
    pages = {1: page(at(10), at(30)), 10: page(at(20)), 20: page(), 30: page(), 50: page()}
    memory = FakeMemory(pages=pages, first=(1,), image=range(50, 51))
    assert order(memory) == [1, 50, 10, 30, 20]
    assert order(memory, without=10) == [1, 50, 30]
    assert order(memory, without=50) == [1, 10, 30, 20]
    assert order(memory, without=1) == [50]


def test_a_page_that_cannot_be_read_is_given_and_leads_nowhere() -> None:
    assert order(FakeMemory(pages={}, first=(1, 2))) == [1, 2]


def test_a_circle_ends() -> None:
    assert order(FakeMemory(pages={1: page(at(5)), 5: page(at(1), at(5))}, first=(1,))) == [1, 5]


@pytest.mark.slow
def test_not_all_of_a_large_memory_is_followed() -> None:
    """It must fit into a small capture kernel."""

    class Endless(FakeMemory):
        def read(self, frame: int) -> bytes | None:
            return page(*(at(512 * frame + 4 * n) for n in range(1, 128)))

        def find(self, address: int) -> int | None:
            return (address - DIRECT_MAP) // PAGE

    assert (1 << 16) <= len(order(Endless(pages={}, first=(1,)))) < (1 << 16) + 1000


@given(
    st.dictionaries(st.integers(0, 80), st.lists(st.integers(0, 80), max_size=8), max_size=60),
    st.sets(st.integers(0, 80)),
    st.lists(st.integers(0, 80), max_size=5, unique=True),
)
def test_each_once_and_only_what_is_kept(
    points: dict[int, list[int]], kept: set[int], landmarks: list[int]
) -> None:
    pages = {frame: page(*map(at, targets)) for frame, targets in points.items()}
    memory = FakeMemory(pages=pages, first=landmarks, image=range(70, 81))
    found = list(first_needed(memory, kept.__contains__))
    assert set(found) <= kept
    assert {frame for frame in landmarks if frame in kept} <= set(found)
    follows = [frame for frame in found if frame not in landmarks and frame not in memory.image]
    assert len(follows) == len(set(follows))
