"""makedumpfile: its command lines, and parsers of what it prints. Nothing here runs it."""

import re
from typing import Final

from attrs import frozen

from kdumpd.errors import DumpError

# What its exit code does not say
# -------------------------------
#
# Exit code 0 says that makedumpfile wrote all that it meant to write, and no more than that:
#
#   - Where it does not understand this kernel's free pages it keeps all of them, without a word. Linux 6.12
#     with 1.7.6: "Free pages : 0x0" in the report, exit code 0, and the dump holds what processes freed
#     before the panic. "The kernel version is not supported." is printed for kernels with which all is well,
#     too, so it decides nothing. Only the page report tells (`unfiltered`).
#   - A compression that it was built without it ignores: -z on Debian's 1.7.2 writes plain pages. What is
#     built in is asked first (`parse_version`), and the header's word counts afterwards.
#   - The page report comes with the last byte, at message level 16 and above. A dump that is cut has none;
#     the same counts come from a dry run (`survey_argv`).
#
# Another exit code does not mean that there is nothing: what was written before it is good, and is sealed.
#
#   - Where it cannot read a page of memory it says so and exits with 1. But it prefers mmap(2), and there
#     such a page is a SIGBUS and no message.
#   - Out of memory, the kernel kills it: SIGKILL, and no message either.
#   - With -F all messages go to standard error, as the dump goes to standard output; without it some
#     go to standard output. Progress is separated by carriage returns and comes at most once a second.
#
# Sources: makedumpfile.c, print_info.c, and what 1.7.2, 1.7.6 and 1.7.8 did in docs/reliability.md's tests.

# Dump levels are sums of these (makedumpfile(8), option -d).
ZERO_PAGES: Final = 1
CACHE_PAGES: Final = 2
PRIVATE_CACHE_PAGES: Final = 4
USER_PAGES: Final = 8
FREE_PAGES: Final = 16

# The classes that can hold a customer's data.
PRIVATE_PAGES: Final = CACHE_PAGES | PRIVATE_CACHE_PAGES | USER_PAGES | FREE_PAGES

_COMPRESSION_OPTIONS: Final = {"zlib": ["-c"], "lzo": ["-l"], "zstd": ["-z"], "none": []}
_PREFERENCE: Final = ("zstd", "lzo", "zlib")

# Progress (1), errors (4) and the page report (16), see makedumpfile(8), option --message-level.
_MESSAGE_LEVEL: Final = "21"
_ERRORS_ONLY: Final = "4"


@frozen(kw_only=True)
class Capabilities:
    """What one makedumpfile can do: its version and the compressions that were built in."""

    version: str
    compressions: frozenset[str]


@frozen(kw_only=True)
class PageReport:
    """How many pages a run kept and left out, by class; and the bytes that it wrote."""

    total_pages: int
    kept_pages: int
    zero_pages: int
    cache_pages: int
    private_cache_pages: int
    user_pages: int
    free_pages: int
    hwpoison_pages: int
    offline_pages: int
    hole_pages: int
    written_bytes: int


def version_argv(program: str) -> list[str]:
    """The command that prints version and built-in compressions."""
    return [program, "-v"]


def log_argv(program: str, vmcore: str) -> list[str]:
    """The command that writes the crashed kernel's log to its standard output, which may be a pipe.

    With ``-F`` it does so, as plain text, and all else goes to standard error (1.7.2 and 1.7.8). In a file
    that it opens by name it seeks, which a pipe refuses.
    """
    return [program, "--dump-dmesg", "-F", "--message-level", _ERRORS_ONLY, vmcore]


def dump_argv(program: str, vmcore: str, *, level: int, compression: str) -> list[str]:
    """The command that writes a flattened dump to its standard output."""
    options = [*_COMPRESSION_OPTIONS[compression], "-d", str(level)]
    return [program, "-F", *options, "--message-level", _MESSAGE_LEVEL, vmcore]


def survey_argv(program: str, vmcore: str, *, level: int) -> list[str]:
    """The command that counts the pages of each class, compresses nothing and writes nothing.

    Measured with 1.7.2: the same counts as the real run, in a fifth of the CPU time of one with lzo.
    """
    return [program, "-F", "-d", str(level), "--dry-run", "--message-level", _MESSAGE_LEVEL, vmcore]


def parse_version(output: bytes) -> Capabilities:
    """Read what ``makedumpfile -v`` prints: the version, then a line for each optional compression.

    Raises:
        DumpError: it is not makedumpfile's output.
    """
    version = re.search(rb"version (\d[\w.+-]{0,32})", output)
    if not version:
        raise DumpError("the program is not makedumpfile: it prints no version")
    enabled = {match.decode() for match in re.findall(rb"^(lzo|zstd)\s+enabled", output, re.MULTILINE)}
    return Capabilities(version=version[1].decode(), compressions=frozenset({"zlib", "none"} | enabled))


def choose_compression(wanted: str, capabilities: Capabilities) -> tuple[str, str | None]:
    """Pick the compression to ask for; makedumpfile ignores one it was built without.

    Returns:
        The compression, and a warning when it is not the wanted one.
    """
    if wanted in capabilities.compressions:
        return wanted, None
    best = next(name for name in _PREFERENCE if name in capabilities.compressions)
    if wanted == "auto":
        return best, None
    return best, f"makedumpfile {capabilities.version} has no {wanted}: {best} is used"


def parse_progress(messages: bytes) -> float | None:
    """The last percentage of the copying phase in a piece of standard error, or None."""
    found: list[bytes] = re.findall(rb"Copying data[ ]{0,64}: \[ {0,3}(\d{1,3}\.\d)", messages)
    return min(float(found[-1]), 100.0) if found else None


def parse_phase(messages: bytes) -> bytes | None:
    """The last progress indicator in a piece of standard error, phase and percentage; None without one."""
    # A phase's name is padded to 50 characters (PROGRESS_MAXLEN in makedumpfile's print_info.h).
    found: list[bytes] = re.findall(rb"[A-Z][a-z ]{1,60}: \[ {0,3}\d{1,3}\.\d", messages)
    return found[-1] if found else None


_REPORT_LINES: Final = {
    "total_pages": b"Total pages",
    "kept_pages": b"Remaining pages",
    "zero_pages": b"Pages filled with zero",
    "cache_pages": b"Non-private cache pages",
    "private_cache_pages": b"Private cache pages",
    "user_pages": b"User process data pages",
    "free_pages": b"Free pages",
    "hwpoison_pages": b"Hwpoison pages",
    "offline_pages": b"Offline pages",
    "hole_pages": b"Memory Hole",
    "written_bytes": b"Write bytes",
}
# What the privacy verdict needs; other lines vary with the version.
_NEEDED: Final = ("total_pages", "kept_pages", "cache_pages", "user_pages", "free_pages")


def parse_report(messages: bytes) -> PageReport | None:
    """Read the page report at the end of standard error; None when it is not all there."""
    numbers = dict.fromkeys(_REPORT_LINES, 0)
    seen = set()
    for name, label in _REPORT_LINES.items():
        if match := re.search(
            rb"^ *" + label + rb" *: (0x[0-9a-f]{1,16}|\d{1,20})\b", messages, re.MULTILINE
        ):
            numbers[name] = int(match[1], 16 if match[1].startswith(b"0x") else 10)
            seen.add(name)
    return PageReport(**numbers) if seen.issuperset(_NEEDED) else None


def unfiltered(report: PageReport, level: int) -> str | None:
    """Say which class of pages the level excludes and this run did not, or None.

    A machine that ran has free pages, user pages and cached pages; none excluded means that makedumpfile did
    not recognise them in this kernel and kept them.
    """
    for bit, count, what in (
        (FREE_PAGES, report.free_pages, "free pages"),
        (USER_PAGES, report.user_pages, "user pages"),
        (CACHE_PAGES, report.cache_pages, "cache pages"),
    ):
        if level & bit and count == 0:
            return f"{what} were not excluded"
    return None
