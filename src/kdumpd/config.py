"""Configuration: frozen records, each value checked when it is made, read from TOML and the kernel's line.

The records are the single place where a default lives; ``etc/kdumpd.toml`` shows them all and a test
keeps the two equal. A field's validator is both its type and its range.

What guards customers' data is a wall (``STRICTEST``). In a capture kernel nobody is there to mend a
mistake: there a wall of which something cannot be read takes its strictest value, every other key its
default, and the mistakes are said.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import field, frozen

from kdumpd import sources
from kdumpd.errors import ConfigError
from kdumpd.sources import Mistake

DEFAULT_PATH = Path("/etc/kdumpd.toml")
COMMAND_LINE = Path("/proc/cmdline")

COMPRESSIONS = ("auto", "zstd", "lzo", "zlib", "none")
AUTO = "auto"

_QUOTED_CHARACTERS = 80  # of a value, or a name that is not known

type_check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _is(accept: Callable[[Any], bool], wanted: str) -> type_check:
    """Make an attrs validator that says what was wanted and what came instead."""

    def check(_record: object, _attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not accept(value):
            raise ValueError(f"must be {wanted}, not {repr(value)[:_QUOTED_CHARACTERS]}")

    return check


def _number(value: object) -> bool:
    # bool is an int in Python; `wait_s = true` is a mistake all the same.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(value: object) -> bool:
    # Those of TOML have 64 bits; Python reads longer ones too.
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def _text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _texts(value: object) -> bool:
    return isinstance(value, tuple) and all(_text(item) and item for item in value)


_boolean = _is(lambda v: isinstance(v, bool), "true or false")
_seconds = _is(lambda v: _number(v) and 0 <= v <= 10**6, "a number of seconds from 0 to 1000000")
_some_seconds = _is(lambda v: _number(v) and 0 < v <= 10**6, "a number of seconds above 0, at most 1000000")
_bytes = _is(lambda v: _integer(v) and v >= 0, "a number of bytes, 0 or more")
_count = _is(lambda v: _integer(v) and v >= 1, "a whole number, 1 or more")
_count_or_none = _is(lambda v: _integer(v) and v >= 0, "a whole number, 0 or more")
_path = _is(lambda v: _text(v) and v.startswith("/"), "an absolute path")
_name = _is(lambda v: _text(v) and v != "", "a text that is not empty")
_names = _is(lambda v: _texts(v) and len(v) > 0, "a list of one or more texts")
_bytes_or_auto = _is(lambda v: v == AUTO or (_integer(v) and v >= 0), '"auto" or a number of bytes')
_targets = _is(
    lambda v: v == AUTO or (_texts(v) and all(p.startswith("/") for p in v)),
    '"auto" or a list of absolute paths',
)
# An X25519 recipient in Bech32, the only kind that age itself makes (age-encryption.org/v1).
_RECIPIENT: Final = re.compile("age1[02-9ac-hj-np-z]{58}")
_recipients = _is(
    lambda v: _texts(v) and all(_RECIPIENT.fullmatch(key) for key in v), "a list of age public keys, age1..."
)


def _one_of(*choices: str) -> type_check:
    return _is(lambda v: v in choices, "one of " + ", ".join(f'"{c}"' for c in choices))


def _tuple_of_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


@frozen(kw_only=True)
class VmcoreSettings:
    """``[vmcore]``: where the crashed kernel's memory is read."""

    path: str = field(default="/proc/vmcore", validator=_path)


@frozen(kw_only=True)
class StorageSettings:
    """``[storage]``: when persist counts as ready."""

    mountpoint: str = field(default="/persist", validator=_path)
    filesystems: tuple[str, ...] = field(
        default=("ext3", "ext4", "zfs"), converter=_tuple_of_list, validator=_names
    )
    partlabel: str = field(default="P3", validator=_is(_text, "a text"))
    wait_s: float = field(default=120, validator=_seconds)
    min_free_bytes: int | str = field(default=AUTO, validator=_bytes_or_auto)


@frozen(kw_only=True)
class DumpSettings:
    """``[dump]``: what is dumped, how, and how long it may take."""

    directory: str = field(
        default="kcrashes",
        validator=_is(
            lambda v: _text(v) and v not in ("", ".", "..") and "/" not in v, "the name of one folder"
        ),
    )
    enabled: bool = field(default=True, validator=_boolean)
    level: int = field(default=31, validator=_is(lambda v: _integer(v) and 0 <= v <= 31, "0 to 31"))
    compression: str = field(default=AUTO, validator=_one_of(*COMPRESSIONS))
    makedumpfile: str = field(default="makedumpfile", validator=_name)
    time_s: float = field(default=1200, validator=_some_seconds)
    stall_s: float = field(default=60, validator=_some_seconds)
    max_bytes: int = field(default=0, validator=_bytes)
    on_unfiltered: str = field(default="discard", validator=_one_of("discard", "keep"))
    erase_free: bool = field(default=True, validator=_boolean)
    on_unerased: str = field(default="keep", validator=_one_of("keep", "discard"))


@frozen(kw_only=True)
class EncryptionSettings:
    """``[encryption]``: the age public keys that dumps are encrypted to; none: they are not."""

    recipients: tuple[str, ...] = field(default=(), converter=_tuple_of_list, validator=_recipients)


@frozen(kw_only=True)
class RetentionSettings:
    """``[retention]``: how many artefacts of each kind stay, and how long all dumps may be together."""

    dumps: int = field(default=5, validator=_count)
    logs: int = field(default=5, validator=_count)
    max_bytes: int | str = field(default=AUTO, validator=_bytes_or_auto)


@frozen(kw_only=True)
class ConsoleSettings:
    """``[console]``: where the panic text is shown, and how fast."""

    targets: tuple[str, ...] | str = field(default=AUTO, converter=_tuple_of_list, validator=_targets)
    line_delay_s: float = field(default=0.2, validator=_seconds)


@frozen(kw_only=True)
class ReasonsSettings:
    """``[reasons]``: the folder of the reason files; empty means the mount point."""

    directory: str = field(
        default="", validator=_is(lambda v: v == "" or (_text(v) and v.startswith("/")), "an absolute path")
    )


@frozen(kw_only=True)
class WatchdogSettings:
    """``[watchdog]``: the hardware watchdog to pet; empty is off."""

    device: str = field(
        default="/dev/watchdog",
        validator=_is(lambda v: v == "" or (_text(v) and v.startswith("/")), "an absolute path or empty"),
    )


@frozen(kw_only=True)
class BudgetSettings:
    """``[budget]``: the whole run's time, and what the final phase has beyond it."""

    total_s: float = field(default=1800, validator=_some_seconds)
    grace_s: float = field(default=15, validator=_some_seconds)


@frozen(kw_only=True)
class RebootSettings:
    """``[reboot]``: how the machine is restarted and where the kernel's panic timeout is read."""

    method: str = field(default="sysrq", validator=_one_of("sysrq", "syscall"))
    panic_timeout: str = field(default="/proc/sys/kernel/panic", validator=_path)


@frozen(kw_only=True)
class CrashLoopSettings:
    """``[crash_loop]``: after this many dumps within window_s, save only the log; 0 is off."""

    dumps: int = field(default=3, validator=_count_or_none)
    window_s: float = field(default=3600, validator=_some_seconds)


@frozen(kw_only=True)
class Config:
    """Every setting, checked. ``Config()`` is the default configuration."""

    vmcore: VmcoreSettings = field(factory=VmcoreSettings)
    storage: StorageSettings = field(factory=StorageSettings)
    dump: DumpSettings = field(factory=DumpSettings)
    encryption: EncryptionSettings = field(factory=EncryptionSettings)
    retention: RetentionSettings = field(factory=RetentionSettings)
    console: ConsoleSettings = field(factory=ConsoleSettings)
    reasons: ReasonsSettings = field(factory=ReasonsSettings)
    watchdog: WatchdogSettings = field(factory=WatchdogSettings)
    budget: BudgetSettings = field(factory=BudgetSettings)
    reboot: RebootSettings = field(factory=RebootSettings)
    crash_loop: CrashLoopSettings = field(factory=CrashLoopSettings)

    @property
    def crash_folder(self) -> str:
        """The path of the crash folder."""
        return f"{self.storage.mountpoint.rstrip('/')}/{self.dump.directory}"

    @property
    def reasons_directory(self) -> str:
        """The folder of the reason files."""
        return self.reasons.directory or self.storage.mountpoint


SECTIONS: dict[str, Any] = {section.name: section.type for section in attrs.fields(Config)}

STRICTEST: Final[Mapping[tuple[str, str], object]] = {
    ("dump", "enabled"): False,
    ("dump", "level"): 31,
    ("dump", "on_unfiltered"): "discard",
    ("dump", "erase_free"): True,
    ("dump", "on_unerased"): "discard",
    ("encryption", "recipients"): None,  # nobody to encrypt to, and nothing may be readable: no dump
}
"""What guards customers' data, and what counts where it cannot be read."""

_RECIPIENTS: Final = ("encryption", "recipients")
# On the kernel's command line their items stand between commas.
_LISTS: Final = (("storage", "filesystems"), ("console", "targets"), _RECIPIENTS)

Values = dict[tuple[str, str], Any]
_Layer = tuple[Values, list[Mistake]]


def parse_config(text: str, *, source: str = "config") -> Config:
    """Read a configuration from TOML text.

    Args:
        text: the TOML document; every key is optional.
        source: what to call the document in an error, usually its path.

    Raises:
        ConfigError: bad TOML, an unknown section or key, a wrong type or range.
    """
    return _strict(_check(sources.read_toml(text, source), source))


def load_config(path: Path | None = None, *, command_line: Path = COMMAND_LINE) -> Config:
    """Read the configuration file, without a path the default one if it is there, and the kernel's line.

    Args:
        path: the file.
        command_line: the kernel's command line; its words ``kdumpd.TABLE.KEY=VALUE`` take precedence.

    Raises:
        ConfigError: a file cannot be read, or says something wrong.
    """
    return _strict(_read_file(path), _read_command_line(command_line))


def load_anyway(
    path: Path | None = None, *, command_line: Path = COMMAND_LINE
) -> tuple[Config, tuple[str, ...]]:
    """Read what can be read, for a capture kernel: the settings, and the mistakes, a line each.

    What cannot be read of a wall counts as its strictest value, and every other key as if it were not there.
    """
    values: Values = {}
    said: list[str] = []
    for layer, mistakes in (_read_file(path), _read_command_line(command_line)):
        values |= layer
        values |= {wall: STRICTEST[wall] for mistake in mistakes for wall in mistake.walls(STRICTEST)}
        said += [mistake.text for mistake in mistakes]
    if values.get(_RECIPIENTS, ()) is None:
        values |= {_RECIPIENTS: (), ("dump", "enabled"): False}
    return _made(values), tuple(said)


def _strict(*layers: _Layer) -> Config:
    for mistake in (mistake for _, mistakes in layers for mistake in mistakes):
        raise ConfigError(mistake.text)
    return _made({name: value for values, _ in layers for name, value in values.items()})


def _made(values: Values) -> Config:
    sections: dict[str, dict[str, Any]] = {}
    for (table, key), value in values.items():
        sections.setdefault(table, {})[key] = value
    return Config(**{table: SECTIONS[table](**keys) for table, keys in sections.items()})


def _read_file(path: Path | None) -> _Layer:
    file = path or DEFAULT_PATH
    document = sources.read_file(file)
    if document is None:
        document = Mistake(text=f"{file}: no such file") if path else {}
    return _check(document, str(file))


def _read_command_line(path: Path) -> _Layer:
    line = sources.read_command_line(path)
    return _check(line if isinstance(line, Mistake) else sources.settings(line, lists=_LISTS), str(path))


def _check(document: Mapping[str, Any] | Mistake, source: str) -> _Layer:
    """Sort what a source says into what is right and what is wrong."""
    if isinstance(document, Mistake):
        return {}, [document]
    values: Values = {}
    mistakes = []
    for table, keys in document.items():
        for key, value in keys.items() if isinstance(keys, dict) and keys else [(None, keys)]:
            if why := _wrong(table, key, value):
                known = key in _keys(table)
                mistakes.append(Mistake(text=f"{source}: {why}", table=table, key=key, known=known))
            elif key is not None:
                values[table, key] = value
    return values, mistakes


def _wrong(table: str, key: str | None, value: object) -> str | None:
    """Say what is wrong with a setting, by its name and the reason; None: nothing."""
    if table not in SECTIONS:
        return f"{sources.shown(table, _QUOTED_CHARACTERS)}: unknown section (known: {', '.join(SECTIONS)})"
    if key is None:
        return None if value == {} else f"{table}: must be a section, [{table}], not a value"
    known = _keys(table)
    if key not in known:
        return f"{table}.{sources.shown(key, _QUOTED_CHARACTERS)}: unknown key (known: {', '.join(known)})"
    try:
        SECTIONS[table](**{key: value})
    except ValueError as error:
        return f"{table}.{key}: {error}"
    return None


def _keys(table: str) -> list[str]:
    return [attribute.name for attribute in attrs.fields(SECTIONS[table])] if table in SECTIONS else []
