"""The consoles of the kernel, as /proc/consoles has them on real machines."""

from pathlib import Path

import pytest

from kdumpd.host.consoles import find_consoles, parse_consoles

SCREEN_AND_LINE = """\
tty0                 -WU (EC  p  )    4:1
ttyS0                -W- (E   p a)    4:64
"""


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        (SCREEN_AND_LINE, ("/dev/tty0", "/dev/ttyS0")),
        ("hvc0                 RW- (EC  p  )  229:0\n", ("/dev/hvc0",)),
        ("ttyS0                -W- (EC  p a)    4:64\nnetcon0              -W- (E   p  )\n", ("/dev/ttyS0",)),
        ("pstore-1             -W- (E N p  )\n", ("/dev/console",)),
        ("ttyS1                -W- (    p a)    4:65\n", ("/dev/console",)),
        ("ttyS1                R-- (E   p a)    4:65\n", ("/dev/console",)),
        ("../x                 -W- (EC  p a)    4:64\n", ("/dev/console",)),
        ("", ("/dev/console",)),
    ],
)
def test_consoles_that_are_enabled_and_can_be_written(text: str, targets: tuple[str, ...]) -> None:
    assert parse_consoles(text) == targets


def test_without_a_list_there_is_dev_console(tmp_path: Path) -> None:
    assert find_consoles(tmp_path / "none") == ("/dev/console",)
