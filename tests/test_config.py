"""Settings: defaults, every kind of mistake, and the shipped file that shows them all."""

import tomllib
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.config import SECTIONS, Config, load_config, parse_config
from kdumpd.errors import ConfigError

SHIPPED = Path(__file__).parent.parent / "etc/kdumpd.toml"


def test_an_empty_file_is_the_default_configuration() -> None:
    assert parse_config("") == Config()


def test_the_shipped_file_says_every_key_and_its_default() -> None:
    text = SHIPPED.read_text()
    document = tomllib.loads(text)
    assert parse_config(text) == Config()
    assert {name: set(keys) for name, keys in document.items()} == {
        name: {attribute.name for attribute in attrs.fields(section)} for name, section in SECTIONS.items()
    }


def test_values_are_taken() -> None:
    config = parse_config('[storage]\nfilesystems = ["xfs"]\nwait_s = 1.5\n[dump]\nenabled = false\n')
    assert config.storage.filesystems == ("xfs",)
    assert config.storage.wait_s == 1.5
    assert not config.dump.enabled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[storag]\n", "f.toml: storag: unknown section"),
        ("storage = 3\n", "f.toml: storage: must be a section, [storage], not a value"),
        ("[storage]\nwait = 1\n", "f.toml: storage.wait: unknown key (known: mountpoint, "),
        ('[storage]\nwait_s = "1"\n', "f.toml: storage.wait_s: must be a number of seconds from 0"),
        ("[storage]\nwait_s = true\n", "f.toml: storage.wait_s: must be a number of seconds from 0"),
        ("[storage]\nwait_s = -1\n", "f.toml: storage.wait_s: must be a number of seconds from 0"),
        ("[storage]\nwait_s = nan\n", "f.toml: storage.wait_s: must be a number of seconds from 0"),
        ("[storage]\nwait_s = inf\n", "f.toml: storage.wait_s: must be a number of seconds from 0"),
        ('[storage]\nmountpoint = "persist"\n', "f.toml: storage.mountpoint: must be an absolute path"),
        ("[storage]\nfilesystems = []\n", "f.toml: storage.filesystems: must be a list of one or more texts"),
        ('[storage]\nfilesystems = "ext4"\n', "f.toml: storage.filesystems: must be a list of one or more"),
        ('[storage]\nmin_free_bytes = "all"\n', 'f.toml: storage.min_free_bytes: must be "auto" or a number'),
        ("[dump]\nlevel = 32\n", "f.toml: dump.level: must be 0 to 31, not 32"),
        ("[dump]\ntime_s = 0\n", "f.toml: dump.time_s: must be a number of seconds above 0"),
        ('[dump]\ndirectory = "../x"\n', "f.toml: dump.directory: must be the name of one folder"),
        ('[dump]\ncompression = "gzip"\n', 'f.toml: dump.compression: must be one of "auto", "zstd", '),
        ("[retention]\ndumps = 0\n", "f.toml: retention.dumps: must be a whole number, 1 or more"),
        ('[console]\ntargets = ["tty0"]\n', 'f.toml: console.targets: must be "auto" or a list of absolute'),
        ('[reboot]\nmethod = "kexec"\n', 'f.toml: reboot.method: must be one of "sysrq", "syscall"'),
        ("[storage\n", "f.toml: not valid TOML: "),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, source="f.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    try:
        parse_config(text)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_a_missing_file_is_an_error_only_when_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        load_config(tmp_path / "none.toml")


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(file)


def test_reasons_go_to_the_mount_point_unless_told() -> None:
    assert Config().reasons_directory == "/persist"
    assert parse_config('[reasons]\ndirectory = "/run/why"\n').reasons_directory == "/run/why"
