"""Page tables of x86-64: what an address leads to, which pages they take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.makememory import Tables

from kdumpd.vmcore.pagetables import PageTables

KERNEL = 0xFFFF << 48
LEVELS = pytest.mark.parametrize("levels", [4, 5])


def read_by(tables: Tables) -> PageTables:
    return PageTables(tables.memory().get, top=tables.top, levels=tables.levels)


@LEVELS
def test_a_page_is_found_and_its_neighbour_is_not(levels: int) -> None:
    tables = Tables(levels=levels)
    tables.map(0xFFFFC90000004000, 77)
    found = read_by(tables)
    assert found.find(0xFFFFC90000004000) == 77
    assert found.find(0xFFFFC90000005000) is None
    assert found.find(0xFFFFD90000004000) is None


@LEVELS
@pytest.mark.parametrize(("large", "frame", "inside"), [(2, 512 * 9, 511), (3, 512 * 512 * 2, 200000)])
def test_a_large_page_has_all_of_its_frames(levels: int, large: int, frame: int, inside: int) -> None:
    tables = Tables(levels=levels)
    tables.map(0xFFFF888040000000, frame, large=large)
    assert read_by(tables).find(0xFFFF888040000000) == frame
    assert read_by(tables).find(0xFFFF888040000000 + inside * 4096) == frame + inside


@LEVELS
def test_the_tables_of_the_kernel_are_named_once(levels: int) -> None:
    tables = Tables(levels=levels)
    for address in (0xFFFFC90000004000, 0xFFFFC90000005000, 0xFFFFE90000004000, 0xFFFFFFFFC0000000):
        tables.map(address, 77)
    tables.map(0xFFFF888040000000, 512, large=2)
    of_kernel = list(tables.pages)
    tables.map(0x00007F0000000000, 78)
    assert sorted(read_by(tables).frames()) == of_kernel


@LEVELS
def test_small_pages_are_those_of_one_slot(levels: int) -> None:
    tables = Tables(levels=levels)
    tables.map(0xFFFFFE0000001000, 5)
    tables.map(0xFFFFFE7FFFFFF000, 6)
    tables.map(0xFFFFFE8000000000, 7)
    assert list(read_by(tables).small_pages(0xFFFFFE0000000000)) == [5, 6]
    assert list(read_by(tables).small_pages(0xFFFFF00000000000)) == []


@LEVELS
@pytest.mark.parametrize("bit", [43, 47, 51])
def test_the_bit_that_says_encrypted_is_no_part_of_an_address(levels: int, bit: int) -> None:
    tables = Tables(levels=levels, encryption_mask=1 << bit)
    tables.map(0xFFFFC90000004000, 77)
    tables.map(0xFFFF888040000000, 512 * 9, large=2)
    memory = tables.memory().get
    found = PageTables(memory, top=tables.top, levels=levels, encryption_mask=1 << bit)
    assert found.find(0xFFFFC90000004000) == 77
    assert found.find(0xFFFF888040003000) == 512 * 9 + 3
    assert sorted(found.frames()) == list(tables.pages)
    assert PageTables(memory, top=tables.top, levels=levels).find(0xFFFFC90000004000) is None


def test_a_table_that_cannot_be_read_leads_nowhere() -> None:
    tables = PageTables(lambda _: None, top=3, levels=4)
    assert tables.find(KERNEL) is None
    assert list(tables.frames()) == [3]
    assert list(tables.small_pages(KERNEL)) == []


def test_damaged_tables_end() -> None:
    """Every entry leads on, to another table each: as if all of memory were one."""
    tables = PageTables(
        lambda frame: b"".join((frame * 512 + n << 12 | 1).to_bytes(8, "little") for n in range(512)),
        top=1,
        levels=5,
    )
    assert len(list(tables.frames())) < 20000


@given(
    st.dictionaries(st.integers(0, (1 << 35) - 1), st.integers(0, (1 << 40) - 1), min_size=1, max_size=30),
    st.sampled_from([4, 5]),
)
def test_all_that_is_mapped_is_found(mapped: dict[int, int], levels: int) -> None:
    tables = Tables(levels=levels, first=1 << 30)
    for number, frame in mapped.items():
        tables.map(KERNEL + number * 4096, frame)
    found = read_by(tables)
    assert {number: found.find(KERNEL + number * 4096) for number in mapped} == mapped
