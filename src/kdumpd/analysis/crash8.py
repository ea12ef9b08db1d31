"""crash(8): the same questions put to it in one batch, its answers as it prints them."""

import subprocess
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from kdumpd.analysis.subject import Dump
from kdumpd.analysis.symbols import Symbols
from kdumpd.dmesg.lines import safe_lines
from kdumpd.errors import DumpError, trouble

# crash reads the whole symbol table first; a large dump on a slow machine may take minutes.
_LIMIT_S: Final = 600

# A title, and the command that answers it (crash's own help, by command name).
QUESTIONS: Final = (
    ("System", "sys"),
    ("Crashed task", "bt -s -l"),
    ("Other CPUs", "bt -a"),
    ("Blocked tasks", "foreach UN bt"),
    ("Tasks", "ps"),
    ("Memory", "kmem -i"),
    ("Slab caches", "kmem -s"),
    ("Modules", "mod"),
    ("Mounts", "mount"),
    ("Block devices", "dev -d"),
    ("Last lines of the log", "log"),
)
_LOG_LINES: Final = 30
_MARK: Final = "-- kdumpd: "


@frozen(kw_only=True)
class Answer:
    """What crash printed for one command."""

    title: str
    command: str
    lines: tuple[str, ...]


def ask(dump: Dump, symbols: Symbols, modules: Iterable[str]) -> tuple[Answer, ...]:
    """Put every question to crash, with the symbols of these modules loaded where there are some.

    Raises:
        DumpError: crash is not installed, cannot open the dump, or takes too long.
    """
    paths = {name: next(symbols.of_module(name), None) for name in modules}
    loads = "".join(f"mod -s {name} {path}\n" for name, path in paths.items() if path)
    script = "".join(f"!echo '{_MARK}{title}'\n{command}\n" for title, command in QUESTIONS)
    # Nothing of the user's own set-up, and no pager between us.
    command = [
        "crash",
        "-s",
        "--no_crashrc",
        "--no_scroll",
        *options(dump),
        str(symbols.vmlinux),
        str(dump.path),
    ]
    output = _run(command, f"{loads}{script}quit\n")
    said = Answer(title="Warnings", command="start", lines=tuple(filter(None, _answer_at(output, -1))))
    return (
        *([said] if said.lines else []),
        *(_answer(title, command, output) for title, command in QUESTIONS),
    )


def options(dump: Dump) -> list[str]:
    """What crash is told for this dump: pages that are missing of an incomplete one read as zeros."""
    return ["--zero_excluded"] if dump.incomplete else []


def _run(command: list[str], script: str) -> list[str]:
    try:
        done = subprocess.run(
            command,
            input=script.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise DumpError("crash is not installed (package crash)") from error
    except subprocess.TimeoutExpired as error:
        raise DumpError(f"crash does not end within {_LIMIT_S} s") from error
    except OSError as error:
        raise DumpError(f"crash: {trouble(error)}") from error
    lines = list(safe_lines(done.stdout))
    if not any(line.startswith(_MARK) for line in lines):
        said = [line.strip() for line in lines if line.strip()]
        own = [line.removeprefix("crash: ") for line in said if line.startswith("crash: ")]
        why = (own or said or [f"exit status {done.returncode}"])[-1]
        raise DumpError(f"crash cannot open the dump: {why}")
    return lines


def _answer(title: str, command: str, output: list[str]) -> Answer:
    start = next((n for n, line in enumerate(output) if line == f"{_MARK}{title}"), len(output))
    lines = _answer_at(output, start)
    return Answer(
        title=title, command=command, lines=tuple(lines[-_LOG_LINES:] if command == "log" else lines)
    )


def _answer_at(output: list[str], start: int) -> list[str]:
    """The lines after one mark and before the next."""
    end = next((n for n, line in enumerate(output) if n > start and line.startswith(_MARK)), len(output))
    return output[start + 1 : end]


def render(answers: tuple[Answer, ...]) -> str:
    """Answers as text."""
    return "\n\n".join(
        "\n".join(
            [
                f"{answer.title} (crash: {answer.command})",
                *(f"  {line}" for line in answer.lines or ("none",)),
            ]
        )
        for answer in answers
    )
