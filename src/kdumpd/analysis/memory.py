"""Where the machine's memory went."""

from typing import Final

import drgn
from drgn.helpers.linux.mm import totalram_pages
from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_pages_per_slab, slab_cache_usage
from drgn.helpers.linux.vmstat import global_node_page_state, global_zone_page_state, nr_free_pages

from kdumpd.analysis.core import Core
from kdumpd.analysis.findings import FREE, Cache, Memory, Part, Share, Task
from kdumpd.analysis.gather import part, parts, text

TOP: Final = 12


def read(core: Core, tasks: tuple[Task, ...]) -> Part[Memory]:
    """Read how much memory there is and what it is used for."""
    caches = parts(lambda: for_each_slab_cache(core.program), lambda cache: _cache(core, cache))
    found = part(lambda: _read(core, tasks, caches.found or ()))
    lacks = f"slab caches: {caches.missing}" if caches.missing else None
    return Part(found=found.found, missing=found.missing or lacks)


def _read(core: Core, tasks: tuple[Task, ...], caches: tuple[Cache, ...]) -> Memory:
    program = core.program
    page_bytes = int(program["PAGE_SIZE"])
    total, free = int(totalram_pages(program)), int(nr_free_pages(program))
    pages = _pages(program)
    known = {
        "processes (anonymous)": pages["NR_ANON_MAPPED"],
        "page cache": pages["NR_FILE_PAGES"] - pages["NR_SHMEM"],
        "shared memory, tmpfs": pages["NR_SHMEM"],
        "slab, reclaimable": pages["NR_SLAB_RECLAIMABLE_B"],
        "slab, unreclaimable": pages["NR_SLAB_UNRECLAIMABLE_B"],
        "page tables": pages["NR_PAGETABLE"],
        "kernel stacks": pages["NR_KERNEL_STACK_KB"] * 1024 // page_bytes,
        FREE: free,
    }
    # What is left: vmalloc, drivers' and per-CPU memory.
    shares = known | {"other kernel memory": max(0, total - sum(known.values()))}
    return Memory(
        total_bytes=total * page_bytes,
        free_bytes=free * page_bytes,
        shares=tuple(Share(name=name, size_bytes=count * page_bytes) for name, count in shares.items()),
        caches=tuple(sorted(caches, key=lambda cache: -cache.size_bytes)[:TOP]),
        processes=tuple(sorted((t for t in tasks if t.rss_bytes), key=lambda t: -t.rss_bytes)[:TOP]),
    )


# Counters that other kernel versions keep elsewhere or under another name.
_COUNTERS: Final = {
    "NR_ANON_MAPPED": "NR_ANON_PAGES",
    "NR_FILE_PAGES": "NR_FILE_PAGES",
    "NR_SHMEM": "NR_SHMEM",
    "NR_SLAB_RECLAIMABLE_B": "NR_SLAB_RECLAIMABLE",
    "NR_SLAB_UNRECLAIMABLE_B": "NR_SLAB_UNRECLAIMABLE",
    "NR_PAGETABLE": "NR_PAGETABLE",
    "NR_KERNEL_STACK_KB": "NR_KERNEL_STACK_KB",
}


def _pages(program: drgn.Program) -> dict[str, int]:
    return {name: _counter(program, name, older) for name, older in _COUNTERS.items()}


def _counter(program: drgn.Program, *names: str) -> int:
    for name in names:
        for kind, count in (
            ("enum node_stat_item", global_node_page_state),
            ("enum zone_stat_item", global_zone_page_state),
        ):
            items = {item.name: item.value for item in program.type(kind).enumerators or ()}
            if name in items:
                return int(count(program, items[name]))
    return 0


def _cache(core: Core, cache: drgn.Object) -> Cache:
    usage = slab_cache_usage(cache)
    object_bytes = part(lambda: int(cache.object_size)).found or int(cache.size)
    return Cache(
        name=text(cache.name.string_()),
        object_bytes=object_bytes,
        used=usage.num_objs - usage.free_objs,
        total=usage.num_objs,
        size_bytes=usage.num_slabs * slab_cache_pages_per_slab(cache) * int(core.program["PAGE_SIZE"]),
    )
