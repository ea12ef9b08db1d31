"""What makedumpfile should have left out of a dump and did not, as the memory map says. Pure."""

from kdumpd.dump.makedumpfile import CACHE_PAGES, FREE_PAGES, PRIVATE_CACHE_PAGES, USER_PAGES
from kdumpd.vmcore.pageclasses import Counts


def left_over(counts: Counts, level: int) -> str | None:
    """Say which kinds of pages a dump of this level holds that it excludes, or None.

    Args:
        counts: of the pages that the dump is to hold.
        level: its level.
    """
    kinds = (
        (FREE_PAGES, counts.free, "free pages"),
        (USER_PAGES, counts.user, "user pages"),
        (USER_PAGES, counts.hugetlb, "huge pages"),
        # The level for those with private data excludes the others as well (makedumpfile(8), option -d).
        (CACHE_PAGES | PRIVATE_CACHE_PAGES, counts.cache, "cache pages"),
        (PRIVATE_CACHE_PAGES, counts.private_cache, "private cache pages"),
    )
    found = [f"{count} {what}" for bits, count, what in kinds if level & bits and count]
    return f"{', '.join(found)} were not excluded" if found else None
