"""The memory map of a crashed machine for tests: struct pages as kernels lay them out, in an ELF core file.

Nothing of kdumpd is used here. VMCOREINFO is that of Debian's kernels, with 4 levels of page tables.
"""

import struct
from collections.abc import Mapping

from tests import makememory

MAP = 0xFFFFEA0000000000
PER_CPU = 0xFFFFC90000000000
BLOCK = 512
# the frames that hold the map of the first 1024 frames, the sections' tables, the CPUs' lists, page tables
FIRST_MAP_FRAME, ROOTS, SECTIONS, LISTS, TABLES = 10, 30, 31, 32, 40
NO_TYPE = 0xFFFFFFFF

COMMON = """\
SYMBOL(init_top_pgt)=ffff888000028000
SYMBOL(mem_section)=ffff88800001e000
SIZE(mem_section)=16
OFFSET(mem_section.section_mem_map)=0
NUMBER(SECTION_SIZE_BITS)=27
NUMBER(pgtable_l5_enabled)=0
PAGESIZE=4096
SIZE(page)=64
OFFSET(page.flags)=0
OFFSET(page._refcount)=52
OFFSET(page.mapping)=24
OFFSET(page.lru)=8
OFFSET(page._mapcount)=48
OFFSET(page.private)=40
"""
TYPES = """\
NUMBER(PG_lru)=5
NUMBER(PG_private)=14
NUMBER(PG_swapcache)=10
NUMBER(PG_swapbacked)=17
NUMBER(PG_head_mask)=64
NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456
NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592
"""
OLD = """\
OFFSET(page.compound_head)=8
NUMBER(PG_lru)=4
NUMBER(PG_private)=13
NUMBER(PG_swapcache)=10
NUMBER(PG_swapbacked)=19
NUMBER(PG_slab)=9
NUMBER(PG_head_mask)=65536
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129
"""
DTOR = "NUMBER(HUGETLB_PAGE_DTOR)=2\n"
VMCOREINFO = {
    "6.1": f"OSRELEASE=6.1.0-56-cloud-amd64\n{COMMON}{OLD}OFFSET(page.compound_dtor)=16\n{DTOR}",
    "6.4": f"OSRELEASE=6.4.1\n{COMMON}{OLD}OFFSET(folio._folio_dtor)=80\n{DTOR}",
    "6.6": f"OSRELEASE=6.6.1\n{COMMON}{OLD}NUMBER(PG_hugetlb)=8\n",
    "6.12": f"OSRELEASE=6.12.118\n{COMMON}{TYPES}OFFSET(page.compound_head)=8\n",
    "7.2": f"OSRELEASE=7.2.12\n{COMMON}{TYPES}OFFSET(page.compound_info)=8\n",
}


def page(
    *,
    flags: int = 0,
    following: int = 0,
    before: int = 0,
    mapping: int = 0,
    private: int = 0,
    kind: int = NO_TYPE,
    used: int = 1,
) -> bytes:
    """A struct page; `following` is also where a tail says what its head is."""
    return struct.pack("<QQQQQQIIQ", flags, following, before, mapping, 0, private, kind & NO_TYPE, used, 0)


def link(frame: int) -> int:
    """The address of the links in a frame's struct page."""
    return MAP + frame * 64 + 8


def listed(*frames: int, number: int = 0) -> dict[int, bytes]:
    """Free pages in a CPU's list, and the list's head under the key -1 - `number`."""
    head = PER_CPU + 0x100 + number * 16
    ring = [head, *(link(frame) for frame in frames)]
    pages = {
        frame: page(used=0, before=ring[place], following=ring[(place + 2) % len(ring)])
        for place, frame in enumerate(frames)
    }
    return {**pages, -1 - number: struct.pack("<QQ", ring[1 % len(ring)], ring[-1])}


def core(pages: Mapping[int, bytes], *, vmcoreinfo: str = VMCOREINFO["6.12"], mapped: int = 16) -> bytes:
    """An ELF core file with these struct pages, of 1024; those not given are of pages in use.

    Keys below 0 are heads of lists, see `listed`; `mapped` pages of the map are there.
    """
    whole = b"".join(pages.get(frame, page()) for frame in range(2 * BLOCK))
    lists = bytearray(makememory.PAGE)
    for key, data in pages.items():
        if key < 0:
            place = 0x100 + (-1 - key) * 16
            lists[place : place + 16] = data
    memory = {FIRST_MAP_FRAME + n: whole[n * 4096 : (n + 1) * 4096] for n in range(16)}
    memory[ROOTS] = makememory.page(makememory.at(SECTIONS))
    memory[SECTIONS] = makememory.page(MAP | 0x3F)
    memory[LISTS] = bytes(lists)
    tables = makememory.Tables(levels=4, first=TABLES)
    for n in range(mapped):
        tables.map(MAP + n * 4096, FIRST_MAP_FRAME + n)
    tables.map(PER_CPU, LISTS)
    memory.update(tables.memory())
    return makememory.core(memory, vmcoreinfo=vmcoreinfo.encode())
