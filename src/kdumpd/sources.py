"""Where settings come from: a TOML file, and the kernel's command line.

A word of the command line that is a setting is written ``kdumpd.TABLE.KEY=VALUE`` and takes precedence over
the file: with it one device is set where all have the same image. The kernel takes such a word for a
parameter of a module that it does not have, and hands it to nobody (``unknown_bootoption()`` in init/main.c).
"""

import tomllib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

# No configuration is longer; tomllib's time grows with the square of a dotted key's length.
MAX_CHARACTERS: Final = 1 << 15

_PREFIX: Final = "kdumpd."
_INIT: Final = "--"

# From so much likeness on a name may be another one misspelt (difflib's ratio: letters in common).
_ALIKE: Final = 0.8


@frozen(kw_only=True)
class Mistake:
    """What is wrong with a setting.

    Attributes:
        text: a line for a person: the source, the name and the reason.
        table, key: the name as it was written; None where there is none, or no more can be told.
        known: whether there is a setting of this name.
    """

    text: str
    table: str | None = None
    key: str | None = None
    known: bool = False

    def walls(self, walls: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Those of these settings that may have been meant: a name that is not known may be one misspelt."""
        for table, key in walls:
            whole = self.table in (None, table) and self.key in (None, key)
            names = ((f"{self.table}.{self.key}", f"{table}.{key}"), (self.key or self.table or "", key))
            if whole or (not self.known and any(_alike(*pair) for pair in names)):
                yield table, key


def _alike(name: str, wall: str) -> bool:
    from difflib import SequenceMatcher  # noqa: PLC0415 needed after a mistake only

    return SequenceMatcher(None, name.lower(), wall).ratio() >= _ALIKE


def read_file(path: Path) -> dict[str, Any] | Mistake | None:
    """Read a TOML file; None if there is none."""
    try:
        return read_toml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        return Mistake(text=f"{path}: cannot be read: {error}")


def read_toml(text: str, source: str) -> dict[str, Any] | Mistake:
    """Read a TOML document; ``source`` is what a mistake calls it."""
    if len(text) > MAX_CHARACTERS:
        return Mistake(text=f"{source}: {len(text)} characters are too many for a configuration")
    try:
        return tomllib.loads(text)
    # ValueError is TOMLDecodeError, and what Python says of an integer with thousands of digits.
    except (ValueError, RecursionError) as error:
        return Mistake(text=f"{source}: not valid TOML: {error}")


def read_command_line(path: Path) -> str | Mistake:
    """Read the kernel's command line; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return Mistake(text=f"{path}: cannot be read: {error}")


def shown(name: str, limit: int) -> str:
    """A name that is not known, as a short piece of one line."""
    return (name if name.isprintable() else repr(name))[:limit]


def words(command_line: str) -> Iterator[str]:
    """The kernel's own words, up to ``--``, after which those of init follow; quotes stay as they are.

    They are split as the kernel does it (``next_arg()`` in lib/cmdline.c): at white space outside quotes.
    """
    word, quoted = "", False
    for character in command_line + " ":
        quoted ^= character == '"'
        if quoted or not character.isspace():
            word += character
        elif word == _INIT:
            return
        elif word:
            yield word
            word = ""
    if word:  # a quote that is never closed reaches to the end
        yield word.removesuffix(" ")


def values(command_line: str, name: str) -> list[str]:
    """The values of a parameter, in their order; ``-`` and ``_`` are the same in its name."""
    pairs = (unquoted(word).partition("=") for word in words(command_line))
    return [unquoted(value) for key, _, value in pairs if key.replace("-", "_") == name]


def unquoted(word: str) -> str:
    """A word or value without the quotes around it."""
    return word.removeprefix('"').removesuffix('"') if word.startswith('"') else word


def settings(
    command_line: str, *, lists: Container[tuple[str, str]] = ()
) -> dict[str, dict[str | None, Any]]:
    """What the command line sets, as a TOML document has it; of two words for one key the last one counts.

    Args:
        command_line: the whole line.
        lists: the settings whose items stand between commas.
    """
    found: dict[str, dict[str | None, Any]] = {}
    for word in map(unquoted, words(command_line)):
        if word.startswith(_PREFIX):
            name, _, text = word.removeprefix(_PREFIX).partition("=")
            table, _, key = name.replace("-", "_").partition(".")
            read = _read_list if (table, key) in lists else _read_value
            found.setdefault(table, {})[key or None] = read(text)
    return found


def _read_value(text: str) -> object:
    """A TOML value, else the text itself."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return unquoted(text)
    return document["value"] if len(document) == 1 else text


def _read_list(text: str) -> object:
    """A TOML array, else the items between the commas; nothing is an empty list, and ``auto`` is itself."""
    value = _read_value(text)
    if isinstance(value, list) or text == "auto":
        return value
    return [_read_value(item) for item in text.split(",")] if text else []
