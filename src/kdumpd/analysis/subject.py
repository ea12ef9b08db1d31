"""What is examined: a crash, its dump checked, and the debug symbols that belong to it."""

from pathlib import Path

from attrs import frozen

from kdumpd.analysis.progress import Progress
from kdumpd.analysis.symbols import Kernel, Symbols, find_symbols
from kdumpd.crashes.describe import describe_dump
from kdumpd.crashes.inventory import Crash, check_dump
from kdumpd.dump.kdumpfile import Check
from kdumpd.errors import ConfigError, FormatError


@frozen(kw_only=True)
class Dump:
    """A dump file that is whole, or says of itself that it is not."""

    path: Path
    incomplete: bool


@frozen(kw_only=True)
class Subject:
    """A crash with its symbols; without a dump its log is all there is."""

    crash: Crash
    symbols: Symbols
    dump: Dump | None

    def require_dump(self) -> Dump:
        """The dump.

        Raises:
            ConfigError: there is none.
        """
        if self.dump is None:
            raise ConfigError(f"{self.crash.stamp} has no dump to open ({describe_dump(self.crash)})")
        return self.dump


def prepare(crash: Crash, debug: Path, progress: Progress) -> Subject:
    """Check the dump and find its debug symbols, before anything slow.

    Raises:
        ConfigError: the symbols are not this kernel's, or there is nothing that they could serve.
        FormatError: the dump is damaged or truncated.
    """
    file = crash.files.get("dump")
    if file is None:
        if not crash.record.frames:
            raise ConfigError(
                f"{crash.stamp} has no dump and no call trace in a log: there is nothing to analyze"
            )
        symbols = find_symbols(debug, Kernel.of_record(crash.record), progress)
        return Subject(crash=crash, symbols=symbols, dump=None)
    try:
        check = _checked(check_dump(file.path))
        kernel = Kernel.of_dump(check.header)
    except FormatError as error:
        raise FormatError(f"{file.path}: {error}") from error
    dump = Dump(path=file.path, incomplete=check.header.incomplete)
    return Subject(crash=crash, symbols=find_symbols(debug, kernel, progress), dump=dump)


def _checked(check: Check) -> Check:
    """Refuse a dump that was cut after it was written: a cut that kdumpd made is sealed."""
    if not check.complete and not check.header.incomplete:
        pages = f"{check.pages} of {check.expected_pages} pages"
        raise FormatError(f"the dump is truncated: {pages} are in it; was it copied whole?")
    return check
