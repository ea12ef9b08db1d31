"""The command ``analyze``: a crash prepared, a reader asked, the answer rendered."""

from pathlib import Path

from kdumpd.analysis import crash8
from kdumpd.analysis.progress import Progress
from kdumpd.analysis.subject import prepare
from kdumpd.crashes.inventory import Crash
from kdumpd.errors import StorageError, trouble
from kdumpd.text import json_text


def with_crash(crash: Crash, debug: Path, *, as_json: bool) -> str:
    """Ask crash(8) everything; its answers as text or JSON."""
    with Progress() as progress:
        subject = prepare(crash, debug, progress)
        progress.step("asking crash")
        answers = crash8.ask(subject.require_dump(), subject.symbols, crash.record.modules)
    return json_text({"answers": answers}) if as_json else crash8.render(answers)


def with_drgn(crash: Crash, debug: Path, *, html: Path | None, as_json: bool) -> str:
    """Ask drgn everything; the report as text or JSON, or where the page was written."""
    # drgn is large, and asking crash(8) does not need it.
    from kdumpd.analysis import page, text  # noqa: PLC0415
    from kdumpd.analysis.examine import examine  # noqa: PLC0415

    with Progress() as progress:
        report = examine(prepare(crash, debug, progress), progress)
    if html:
        _write(html, page.render(report))
        return json_text({"page": str(html)}) if as_json else f"{crash.stamp}: {html}"
    return json_text(report) if as_json else text.render(report)


def shell(crash: Crash, debug: Path, *, reader: str) -> None:
    """Open the dump in a reader's own shell; returns when the user leaves it."""
    from kdumpd.analysis import shell  # noqa: PLC0415 as above

    with Progress() as progress:
        subject = prepare(crash, debug, progress)
        if reader == "drgn":
            shell.run_drgn(subject.require_dump(), subject.symbols, progress)
    if reader == "crash":
        shell.run_crash(subject.require_dump(), subject.symbols)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: {trouble(error)}") from error
