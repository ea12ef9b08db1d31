"""What became of a dump: is it complete, to be sealed, or not to be kept? Pure."""

from typing import Final, Literal

from attrs import evolve, frozen

from kdumpd import config
from kdumpd.dump import kdumpfile, makedumpfile
from kdumpd.dump.makedumpfile import PageReport

State = Literal["complete", "incomplete", "none"]


@frozen(kw_only=True)
class Verdict:
    """What became of a dump.

    Attributes:
        state: ``complete``; ``incomplete``, which is cut short and sealed; or ``none``.
        why: why it is not complete; None when it is.
        size_bytes: the file's size; 0 without one.
        compression: as the file's header says, else as asked for.
        level: the dump level in the file's header; None without a file.
        pages: page descriptors in the file.
        expected_pages: pages that a whole file would have.
        added_pages: those of the pages that kdumpd added itself after the dump was cut.
        report: pages kept and excluded by class, where makedumpfile said it.
        unfiltered: what it may hold although its level excludes it; such a dump is kept only on request.
    """

    state: State
    why: str | None = None
    size_bytes: int = 0
    compression: str | None = None
    level: int | None = None
    pages: int = 0
    expected_pages: int = 0
    added_pages: int = 0
    report: PageReport | None = None
    unfiltered: str | None = None


NO_DUMP: Final = Verdict(state="none", why="it was not begun")


def judge(
    check: kdumpfile.Check, report: PageReport | None, cut: str | None, settings: config.DumpSettings
) -> Verdict:
    """Decide what a written file is worth: complete, to be sealed, or not to be kept."""
    verdict = Verdict(
        state="complete",
        why=None,
        size_bytes=check.size_bytes,
        compression=check.header.compression,
        level=check.header.dump_level,
        pages=check.pages,
        expected_pages=check.expected_pages,
        report=report,
        unfiltered=not_private(check.header.dump_level, report, settings.level),
    )
    if verdict.unfiltered and settings.on_unfiltered == "discard":
        why = "; ".join(text for text in (cut, verdict.unfiltered) if text)
        return evolve(verdict, state="none", why=why, size_bytes=0)
    if cut is None and (check.pages < check.expected_pages or check.header.incomplete):
        cut = f"only {check.pages} of {check.expected_pages} pages were written"
    if cut is None:
        return verdict
    return evolve(verdict, state="incomplete" if check.pages else "none", why=cut)


def not_private(level: int, report: PageReport | None, wanted: int) -> str | None:
    """Say why a dump may hold pages that the wanted level excludes, or None."""
    if level != wanted:
        return f"its dump level is {level}, not {wanted}"
    if not wanted & makedumpfile.PRIVATE_PAGES:
        return None
    if report is None:
        return "it is not known which pages were excluded"
    return makedumpfile.unfiltered(report, wanted)
