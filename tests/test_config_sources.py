"""Where settings come from: the kernel's command line over the file, and what a mistake in either costs."""

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.config import Config, DumpSettings, EncryptionSettings, load_anyway, load_config
from kdumpd.errors import ConfigError
from kdumpd.sources import values, words

KEY = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
OTHER_KEY = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
LOG_ALONE = DumpSettings(enabled=False, on_unerased="discard")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kdumpd.toml"
    path.write_text("")
    return path


@pytest.fixture
def line(tmp_path: Path) -> Path:
    path = tmp_path / "cmdline"
    path.write_text("")
    return path


# The kernel's command line


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("a  b\tc\n", ["a", "b", "c"]),
        ('a="b c" d', ['a="b c"', "d"]),
        ('"a b=c d" e', ['"a b=c d"', "e"]),
        ("a -- kdumpd.dump.enabled=false", ["a"]),
        ('a "-- b', ["a", '"-- b']),
        ("", []),
    ],
)
def test_words_are_split_as_the_kernel_splits_them(text: str, split: list[str]) -> None:
    assert list(words(text)) == split


def test_a_parameter_is_found_whatever_its_dashes_and_quotes() -> None:
    assert values('a-b=1 "a_b=2 3" a.b=4 a_b a-b="5 6"', "a_b") == ["1", "2 3", "", "5 6"]


@pytest.mark.parametrize(
    ("word", "table", "key", "value"),
    [
        ("kdumpd.dump.enabled=false", "dump", "enabled", False),
        ("kdumpd.dump.time-s=5", "dump", "time_s", 5),
        ("kdumpd.dump.compression=zlib", "dump", "compression", "zlib"),
        ('kdumpd.dump.compression="zlib"', "dump", "compression", "zlib"),
        ("kdumpd.storage.filesystems=ext4,xfs", "storage", "filesystems", ("ext4", "xfs")),
        ("kdumpd.storage.filesystems=ext4", "storage", "filesystems", ("ext4",)),
        ('kdumpd.storage.filesystems=["ext4","xfs"]', "storage", "filesystems", ("ext4", "xfs")),
        ("kdumpd.console.targets=auto", "console", "targets", "auto"),
        ("kdumpd.console.targets=/dev/ttyS0", "console", "targets", ("/dev/ttyS0",)),
        ("kdumpd.watchdog.device=", "watchdog", "device", ""),
        ("kdumpd.dump.enabled=true kdumpd.dump.enabled=false", "dump", "enabled", False),
        ('"kdumpd.dump.makedumpfile=/opt/a b"', "dump", "makedumpfile", "/opt/a b"),
    ],
)
def test_a_word_sets_a_key(line: Path, word: str, table: str, key: str, value: object) -> None:
    line.write_text(f"quiet {word} panic=1\n")
    config = load_config(command_line=line)
    assert getattr(getattr(config, table), key) == value


def test_a_word_takes_precedence_over_the_file_and_leaves_the_rest(file: Path, line: Path) -> None:
    file.write_text("[dump]\nlevel = 1\ntime_s = 7\n")
    line.write_text("kdumpd.dump.level=3 -- kdumpd.dump.time_s=9\n")
    assert load_config(file, command_line=line).dump == DumpSettings(level=3, time_s=7)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("kdumpd.dump.level=32", "dump.level: must be 0 to 31, not 32"),
        ("kdumpd.dump.enabled", "dump.enabled: must be true or false, not ''"),
        ("kdumpd.dump=1", "dump: must be a section"),
        ("kdumpd.dmp.level=1", "dmp: unknown section"),
        ("kdumpd.dump.lvl=1", "dump.lvl: unknown key"),
        (
            f"kdumpd.encryption.recipients={KEY},age1x",
            "encryption.recipients: must be a list of age public keys",
        ),
    ],
)
def test_a_wrong_word_is_one_line_with_the_command_line_as_its_source(
    line: Path, word: str, message: str
) -> None:
    line.write_text(word)
    with pytest.raises(ConfigError) as caught:
        load_config(command_line=line)
    assert str(caught.value).startswith(f"{line}: {message}")
    assert "\n" not in str(caught.value)


def test_without_a_command_line_the_file_alone_counts(tmp_path: Path) -> None:
    assert load_config(command_line=tmp_path / "none") == Config()


# In a capture kernel: a mistake never weakens a wall


@pytest.mark.parametrize(
    ("text", "dump"),
    [
        ('[dump]\nenabled = "no"\n', DumpSettings(enabled=False)),
        ("[dump]\nlevel = 99\n", DumpSettings(level=31)),
        ('[dump]\non_unfiltered = "kep"\n', DumpSettings(on_unfiltered="discard")),
        ('[dump]\nerase_free = "true"\n', DumpSettings(erase_free=True)),
        ('[dump]\non_unerased = "discrd"\n', DumpSettings(on_unerased="discard")),
        ("dump = false\n", LOG_ALONE),
        ("[dump]\nenable = false\n", DumpSettings(enabled=False)),
        ("[dump]\non-unerased = 'discard'\n", DumpSettings(on_unerased="discard")),
        ("enabled = false\n", DumpSettings(enabled=False)),
        ("[encryption]\nrecipients = ['age1']\n", DumpSettings(enabled=False)),
        (f"[encryption]\nrecipients = '{KEY}'\n", DumpSettings(enabled=False)),
        (f"[encryption]\nrecipient = ['{KEY}']\n", DumpSettings(enabled=False)),
        (f"[encrypt]\nrecipients = ['{KEY}']\n", DumpSettings(enabled=False)),
        (f"[crypt]\nrecipients = ['{KEY}']\n", DumpSettings(enabled=False)),
        ("encryption = true\n", DumpSettings(enabled=False)),
        ("[dump\n", LOG_ALONE),
        ("\0", LOG_ALONE),
    ],
)
def test_what_cannot_be_read_of_a_wall_is_its_strictest_value(
    file: Path, line: Path, text: str, dump: DumpSettings
) -> None:
    file.write_text(text)
    config, mistakes = load_anyway(file, command_line=line)
    assert config == Config(dump=dump)
    assert len(mistakes) == 1
    assert mistakes[0].startswith(f"{file}: ")


def test_a_mistake_costs_its_own_key_alone(file: Path, line: Path) -> None:
    file.write_text(
        "[storage]\nwait_s = 'x'\npartlabel = 'P9'\n[dump]\nlevel = 1\ntime_s = 0\n[wacthdog]\na = 1\n"
    )
    config, mistakes = load_anyway(file, command_line=line)
    assert (config.storage.wait_s, config.storage.partlabel) == (120, "P9")
    assert config.dump == DumpSettings(level=1)
    assert [mistake.split(": ")[1] for mistake in mistakes] == ["storage.wait_s", "dump.time_s", "wacthdog"]


def test_a_right_word_mends_the_file_and_a_wrong_one_spoils_it(file: Path, line: Path) -> None:
    file.write_text("[dump]\nenabled = 'no'\nlevel = 1\n[encryption]\nrecipients = ['x']\n")
    line.write_text(f"kdumpd.dump.enabled=true kdumpd.encryption.recipients={KEY},{OTHER_KEY}")
    config, mistakes = load_anyway(file, command_line=line)
    assert config.dump == DumpSettings(enabled=True, level=1)
    assert config.encryption == EncryptionSettings(recipients=(KEY, OTHER_KEY))
    assert len(mistakes) == 2
    file.write_text("[dump]\nenabled = true\nlevel = 1\n")
    line.write_text("kdumpd.dump.level=low")
    config, mistakes = load_anyway(file, command_line=line)
    assert config.dump == DumpSettings(level=31)
    assert mistakes == (f"{line}: dump.level: must be 0 to 31, not 'low'",)


def test_a_named_file_that_is_not_there_may_have_said_anything(tmp_path: Path, line: Path) -> None:
    config, mistakes = load_anyway(tmp_path / "none.toml", command_line=line)
    assert config.dump == LOG_ALONE
    assert mistakes == (f"{tmp_path}/none.toml: no such file",)


def test_nothing_wrong_is_nothing_said(file: Path, line: Path) -> None:
    file.write_text("[dump]\nlevel = 1\n")
    assert load_anyway(file, command_line=line) == (load_config(file, command_line=line), ())


WALLS = ("enabled", "level", "on_unfiltered", "erase_free", "on_unerased")


@given(
    st.sampled_from(WALLS),
    st.sampled_from(["", "[]", "{}", "99", "-1", "'x'", "1.5", "nan", "1979-05-27", "true false", "=", '"'])
    | st.text(st.characters(codec="ascii", exclude_characters="\r\n\0")),
)
def test_no_value_that_is_refused_leaves_a_wall_weaker(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "f.toml").write_text(f"[dump]\n{key} = {value}\n")
    (folder / "line").write_text("")
    config, mistakes = load_anyway(folder / "f.toml", command_line=folder / "line")
    strictest = attrs.asdict(DumpSettings(enabled=False, on_unerased="discard"))
    if mistakes:
        assert getattr(config.dump, key) == strictest[key]
