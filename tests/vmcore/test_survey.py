"""Free pages and kinds of pages, found in the memory map of a crashed machine."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import asdict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.makememorymap import MAP, NO_TYPE, VMCOREINFO, core, link, listed, page

from kdumpd.errors import FormatError
from kdumpd.vmcore.survey import Survey

ALL = b"\xff" * 128
NEW = VMCOREINFO["6.12"]
BUDDY, HUGETLB, SLAB = -268435456, -201326592, -184549376
KERNELS = pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.2"])


@contextmanager
def surveyed(
    folder: Path, pages: Mapping[int, bytes], *, mapped: int = 16, info: str = NEW
) -> Iterator[Survey]:
    (folder / "vmcore").write_bytes(core(pages, vmcoreinfo=info, mapped=mapped))
    survey = Survey.open(str(folder / "vmcore"))
    yield survey
    survey.close()


def free(folder: Path, pages: Mapping[int, bytes], *, info: str = NEW, among: bytes = ALL) -> list[int]:
    with surveyed(folder, pages, info=info) as survey:
        bits = int.from_bytes(survey.free_among(0, among), "little")
    return [frame for frame in range(1024) if bits >> frame & 1]


def counts(
    folder: Path, pages: Mapping[int, bytes], *, info: str = NEW, among: bytes = ALL
) -> dict[str, int]:
    with surveyed(folder, pages, info=info) as survey:
        survey.free_among(0, among)
        return {kind: count for kind, count in asdict(survey.counts).items() if count}


def rest(frames: Iterable[int]) -> dict[int, bytes]:
    """Pages of a free block that are not its first, as they were before it was freed; or of one in use."""
    return {frame: page(used=0, following=link(frame), before=link(frame)) for frame in frames}


@KERNELS
def test_pages_on_a_list_are_found(tmp_path: Path, kernel: str) -> None:
    pages = {**listed(7, 300, 900), **listed(40, number=1), **listed(number=2)}
    assert free(tmp_path, pages, info=VMCOREINFO[kernel]) == [7, 40, 300, 900]


def test_only_those_asked_for_are_told(tmp_path: Path) -> None:
    assert free(tmp_path, listed(7, 300, 900), among=bytes(64) + ALL[:64]) == [900]


def test_a_block_is_free_to_the_end_of_its_alignment(tmp_path: Path) -> None:
    assert free(tmp_path, {**listed(8), **rest(range(9, 40))}) == list(range(8, 16))


def test_a_huge_block_is_free(tmp_path: Path) -> None:
    assert free(tmp_path, {**listed(512), **rest(range(513, 1024))}) == list(range(512, 1024))


def test_a_gap_ends_a_block(tmp_path: Path) -> None:
    pages = {**listed(64), **rest(range(65, 128)), 70: page()}
    assert free(tmp_path, pages) == list(range(64, 70))


def test_the_rest_of_a_large_allocation_is_in_use(tmp_path: Path) -> None:
    """Without ``__GFP_COMP`` only the first page has a reference; the others' links lead to themselves."""
    assert free(tmp_path, {**listed(2), **rest(range(65, 72))}) == [2]


@pytest.mark.parametrize(
    "change",
    [
        {"used": 1},
        {"kind": SLAB},
        {"kind": 0},
        {"mapping": 0xFFFF888000001000},
        {"private": 1},
        {"flags": 1 << 5},
        {"flags": 1 << 6},
        {"flags": 1 << 14},
    ],
    ids=["a reference", "a type", "mapped", "a mapping", "private", "PG_lru", "PG_head", "PG_private"],
)
def test_a_page_in_use_is_not_free_whatever_its_links_are(tmp_path: Path, change: dict[str, int]) -> None:
    pages = listed(7, 9)
    pages[9] = page(**{"used": 0, "before": link(7), "following": 0xFFFFC90000000100, **change})
    assert free(tmp_path, pages) == [7]


def test_a_tail_of_a_compound_page_is_not_free(tmp_path: Path) -> None:
    assert free(tmp_path, {**listed(8), 9: page(used=0, following=MAP + 8 * 64 | 1)}) == [8]


@pytest.mark.parametrize("pointer", [0, 1, 8, 0xDEAD000000000100, 0xFFFF888000000000, 1 << 63, (1 << 64) - 8])
def test_links_that_lead_nowhere_are_no_links(tmp_path: Path, pointer: int) -> None:
    assert free(tmp_path, {9: page(used=0, following=pointer, before=pointer)}) == []


def test_a_page_whose_neighbours_do_not_lead_back_is_on_no_list(tmp_path: Path) -> None:
    pages = listed(7, 9, 11)
    pages[11] = page(used=0, following=link(7), before=link(7))
    assert free(tmp_path, pages) == [7]


def test_where_the_map_is_missing_it_is_not_known(tmp_path: Path) -> None:
    with surveyed(tmp_path, listed(7, 900), mapped=12) as survey:
        assert survey.free_among(0, ALL)[64:] == bytes(64)
        # a neighbour of 7 is 900, whose links cannot be read
        assert (survey.free_pages, survey.unknown_pages) == (0, 512)


@KERNELS
def test_kinds_of_pages_are_counted(tmp_path: Path, kernel: str) -> None:
    old = kernel == "6.1"
    lru, private, slab = (1 << 4, 1 << 13, 1 << 9) if old else (1 << 5, 1 << 14, 0)
    pages = {
        **listed(3),
        10: page(flags=lru, mapping=0xFFFF888000001000),
        11: page(flags=lru | private, mapping=0xFFFF888000001000),
        12: page(flags=lru, mapping=0xFFFF888000001001),
        13: page(mapping=0xFFFF888000001001),
        14: page(flags=slab, kind=NO_TYPE if old else SLAB, mapping=0x8001),
        16: page(used=0, kind=-129 if old else BUDDY, private=2),
        **rest(range(17, 20)),
        20: page(),
    }
    want = {"free": 4, "cache": 1, "private_cache": 1, "user": 2}
    assert counts(tmp_path, pages, info=VMCOREINFO[kernel]) == want


def test_a_free_block_goes_on_in_the_next_part_of_the_map(tmp_path: Path) -> None:
    pages = {0: page(used=0, kind=BUDDY, private=10), **rest(range(1, 1024))}
    assert counts(tmp_path, pages) == {"free": 1024}


@pytest.mark.parametrize("kernel", list(VMCOREINFO))
def test_huge_pages_are_counted_with_their_tails(tmp_path: Path, kernel: str) -> None:
    typed = "TYPE" if kernel in {"6.12", "7.2"} else ""
    head = page(flags=1 << 6 if typed else 1 << 16, kind=HUGETLB if typed else 0)
    tail = (~(8 * 64 - 1) & (1 << 64) - 1) | 1 if kernel == "7.2" else MAP + 8 * 64 | 1
    mark = {"6.1": {"before": 2}, "6.4": {"before": 2}, "6.6": {"flags": 1 << 8}}.get(kernel, {})
    pages = {8: head, 9: page(used=0, following=tail, **mark)}
    pages |= {frame: page(used=0, following=tail) for frame in range(10, 16)}
    assert counts(tmp_path, pages, info=VMCOREINFO[kernel]) == {"hugetlb": 8}


def test_the_tails_of_anonymous_memory_are_user_memory(tmp_path: Path) -> None:
    pages = {8: page(flags=1 << 6, mapping=0xFFFF888000001001)}
    pages |= {frame: page(used=0, following=MAP + 8 * 64 | 1) for frame in range(9, 16)}
    assert counts(tmp_path, pages) == {"user": 8}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("OSRELEASE=6.12.118", "OSRELEASE=7.3.0"), "kernel 7.3 is newer than 7.2"),
        (("OSRELEASE=6.12.118", "OSRELEASE=5.4.1"), "kernel 5.4 is older than 5.10"),
        (("OSRELEASE=6.12.118", "OSRELEASE=custom"), "kernel release 'custom' has no version number"),
        (("SIZE(page)=64", "SIZE(page)=56"), "struct pages of 56 bytes are not known"),
        (("OFFSET(page.lru)=8\n", ""), "VMCOREINFO does not tell OFFSET(page.lru)"),
        (("OFFSET(page.lru)=8", "OFFSET(page.lru)=9"), "struct page has lru at 9"),
        (("OFFSET(page.compound_head)=8\n", ""), "VMCOREINFO does not tell OFFSET(page.compound_info)"),
        (("SYMBOL(mem_section)", "SYMBOL(mem_map)"), "VMCOREINFO does not tell SYMBOL(mem_section)"),
        (
            ("SECTION_SIZE_BITS)=27", "SECTION_SIZE_BITS)=9"),
            "sections of 9 bits, 16 bytes each, are not known",
        ),
        (("PAGESIZE=4096", "PAGESIZE=65536"), "pages of 65536 bytes are not known"),
        (("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", "X"), "VMCOREINFO does not tell what a slab page is"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, change: tuple[str, str], why: str) -> None:
    assert change[0] in NEW
    with pytest.raises(FormatError) as error, surveyed(tmp_path, {}, info=NEW.replace(*change)):
        pass
    assert str(error.value) == why


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(garbage=st.dictionaries(st.integers(0, 1023), st.binary(min_size=64, max_size=64)), wanted=st.binary())
def test_garbage_is_read_without_an_error(tmp_path: Path, garbage: dict[int, bytes], wanted: bytes) -> None:
    bits = wanted[:128].ljust(128, b"\0")
    with surveyed(tmp_path, garbage) as survey:
        found = survey.free_among(0, bits)
    assert all(mine & ~asked == 0 for mine, asked in zip(found, bits, strict=True))
