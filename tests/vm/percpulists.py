"""An oracle: the pages on the CPUs' lists of free pages, walked by drgn with full symbols.

Usage: python -m tests.vm.percpulists VMCORE-OR-DUMP VMLINUX
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import drgn
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import page_to_pfn
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.percpu import per_cpu_ptr

# MIGRATE_PCPTYPES lists for each order up to PAGE_ALLOC_COSTLY_ORDER, then those of huge pages.
TYPES = 3
SMALL_LISTS = TYPES * 4
HUGE_ORDER = 9
PAGE = 4096


def open_with_symbols(core: Path, vmlinux: Path) -> drgn.Program:
    """Open a vmcore or a dump with the kernel's debug symbols."""
    program = drgn.Program()
    program.set_core_dump(core)
    next(module for module, _ in program.loaded_modules()).try_file(vmlinux, force=True)
    return program


def frames(program: drgn.Program) -> dict[int, int]:
    """Every frame on a CPU's list, with the order of the block that it is in."""
    found: dict[int, int] = {}
    for head, order in _blocks(program):
        found.update(dict.fromkeys(range(head, head + (1 << order)), order))
    return found


def _blocks(program: drgn.Program) -> Iterator[tuple[int, int]]:
    link = "pcp_list" if program.type("struct page").has_member("pcp_list") else "lru"
    for node in for_each_online_pgdat(program):
        for zone in list(node.node_zones)[: int(node.nr_zones)]:
            if not int(zone.present_pages):
                continue
            for cpu in for_each_possible_cpu(program):
                lists = per_cpu_ptr(zone.per_cpu_pageset, cpu).lists
                for number, head in enumerate(lists):
                    order = number // TYPES if number < SMALL_LISTS else HUGE_ORDER
                    for page in list_for_each_entry("struct page", head.address_of_(), link):
                        yield int(page_to_pfn(page)), order


def holding_data(program: drgn.Program, among: dict[int, int]) -> list[int]:
    """The frames whose page is there and is not all zeros."""
    return [frame for frame in among if page(program, frame).strip(b"\0")]


def page(program: drgn.Program, frame: int) -> bytes:
    """A page of memory; nothing where the dump does not have it."""
    try:
        return bytes(program.read(frame * PAGE, PAGE, physical=True))
    except drgn.FaultError:
        return b""


if __name__ == "__main__":
    opened = open_with_symbols(Path(sys.argv[1]), Path(sys.argv[2]))
    on_lists = frames(opened)
    orders = {order: list(on_lists.values()).count(order) for order in sorted(set(on_lists.values()))}
    print(f"{len(on_lists)} frames on the CPUs' lists, by order {orders}")
    print(f"{len(holding_data(opened, on_lists))} of them hold data")
