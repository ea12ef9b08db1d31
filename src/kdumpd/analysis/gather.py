"""Reading a dump that may lack pages: every section on its own, and of each as much as there is."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, TypeVar

from kdumpd.analysis.core import one_line
from kdumpd.analysis.findings import Part
from kdumpd.dmesg.lines import safe_lines

T = TypeVar("T")
R = TypeVar("R")

# A list that overwritten memory made endless ends here.
_MOST: Final = 100_000


def part(read: Callable[[], T]) -> Part[T]:
    """Read one section; whatever goes wrong is why it is missing.

    A crashed kernel's memory is what the crash left of it, and a sealed dump lacks pages: a reader that
    follows it may fail in any way, and no failure may cost another section.
    """
    try:
        return Part(found=read())
    except Exception as error:
        return Part(found=None, missing=one_line(error))


def parts(items: Callable[[], Iterable[T]], describe: Callable[[T], R]) -> Part[tuple[R, ...]]:
    """Read a list; it ends where it cannot be followed, and leaves out what cannot be described."""
    found: list[R] = []
    failed: list[str] = []
    ended = None
    try:
        for item in islice(items(), _MOST):
            described = part(lambda item=item: describe(item))  # type: ignore[misc]
            if described.found is None:
                failed.append(described.missing or "")
            else:
                found.append(described.found)
    except Exception as error:  # as above
        ended = f"after {len(found)} {one_line(error)}" if found else one_line(error)
    lacks = f"{len(failed)} could not be read: {failed[0]}" if failed else None
    missing = "; ".join(filter(None, (ended, lacks))) or None
    return Part(found=tuple(found) if found or not missing else None, missing=missing)


def text(raw: bytes) -> str:
    """A string of the kernel's, safe for a terminal."""
    return " ".join(safe_lines(raw))
