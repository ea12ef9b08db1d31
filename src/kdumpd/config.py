"""Configuration: frozen records, each value checked when it is made, read from TOML.

The records are the single place where a default lives; ``etc/kdumpd.toml`` shows them all and a test
keeps the two equal. A field's validator is both its type and its range.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from kdumpd.errors import ConfigError

DEFAULT_PATH = Path("/etc/kdumpd.toml")

COMPRESSIONS = ("auto", "zstd", "lzo", "zlib", "none")
AUTO = "auto"

# No configuration is longer; tomllib's time grows with the square of a dotted key's length.
MAX_CHARACTERS = 1 << 15

# What an error quotes of a value or a name that is not known.
_QUOTED_CHARACTERS = 80

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
_paths = _is(lambda v: _texts(v) and all(p.startswith("/") for p in v), "a list of absolute paths")
_name = _is(lambda v: _text(v) and v != "", "a text that is not empty")
_names = _is(lambda v: _texts(v) and len(v) > 0, "a list of one or more texts")


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
    min_free_bytes: int | str = field(
        default=AUTO,
        validator=_is(lambda v: v == AUTO or (_integer(v) and v >= 0), '"auto" or a number of bytes'),
    )


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


@frozen(kw_only=True)
class RetentionSettings:
    """``[retention]``: how many artefacts of each kind stay."""

    dumps: int = field(default=5, validator=_count)
    logs: int = field(default=5, validator=_count)


@frozen(kw_only=True)
class ConsoleSettings:
    """``[console]``: where the panic text is shown, and how fast."""

    targets: tuple[str, ...] = field(default=("/dev/console",), converter=_tuple_of_list, validator=_paths)
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
    """``[crash_loop]``: so many dumps in this window, and the next crash saves its log alone; 0 is off."""

    dumps: int = field(default=3, validator=_count_or_none)
    window_s: float = field(default=3600, validator=_some_seconds)


@frozen(kw_only=True)
class Config:
    """Every setting, checked. ``Config()`` is the default configuration."""

    vmcore: VmcoreSettings = field(factory=VmcoreSettings)
    storage: StorageSettings = field(factory=StorageSettings)
    dump: DumpSettings = field(factory=DumpSettings)
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


SECTIONS: dict[str, type[Any]] = {
    "vmcore": VmcoreSettings,
    "storage": StorageSettings,
    "dump": DumpSettings,
    "retention": RetentionSettings,
    "console": ConsoleSettings,
    "reasons": ReasonsSettings,
    "watchdog": WatchdogSettings,
    "budget": BudgetSettings,
    "reboot": RebootSettings,
    "crash_loop": CrashLoopSettings,
}


def parse_config(text: str, *, source: str = "config") -> Config:
    """Read a configuration from TOML text.

    Args:
        text: the TOML document; every key is optional.
        source: what to call the document in an error, usually its path.

    Raises:
        ConfigError: bad TOML, an unknown section or key, a wrong type or range.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{source}: {len(text)} characters are too many for a configuration")
    try:
        document = tomllib.loads(text)
    # ValueError is TOMLDecodeError, and what Python says of an integer with thousands of digits.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    sections: dict[str, Any] = {}
    for name, values in document.items():
        if name not in SECTIONS:
            raise ConfigError(f"{source}: {_shown(name)}: unknown section (known: {', '.join(SECTIONS)})")
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {name}: must be a section, [{name}], not a value")
        sections[name] = _parse_section(SECTIONS[name], name, values, source)
    return Config(**sections)


def _parse_section(section: type[Any], name: str, values: dict[str, Any], source: str) -> object:
    known = [attribute.name for attribute in attrs.fields(section)]
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{source}: {name}.{_shown(key)}: unknown key (known: {', '.join(known)})")
        try:
            section(**{key: value})
        except ValueError as error:
            raise ConfigError(f"{source}: {name}.{key}: {error}") from error
    return section(**values)


def _shown(name: str) -> str:
    """A name that is not known, as a short piece of one line."""
    return (name if name.isprintable() else repr(name))[:_QUOTED_CHARACTERS]


def load_config(path: Path | None = None) -> Config:
    """Read the configuration file; without a path, the default one if it is there.

    Raises:
        ConfigError: the file cannot be read, or says something wrong.
    """
    file = path or DEFAULT_PATH
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if path is None:
            return Config()
        raise ConfigError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    return parse_config(text, source=str(file))
