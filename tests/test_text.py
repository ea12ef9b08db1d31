"""Text for a person: sizes, times, columns, terminal safety."""

import pytest

from kdumpd.text import escape, in_columns, moment, printable, shortened, size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (128 << 20, "128 MiB"),
        (1000 << 20, "1.0 GiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_a_size(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


def test_a_moment() -> None:
    assert moment(1795398039) == "2026-11-23 01:40:39 UTC"
    assert moment(None) == "unknown"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("NAME", "SIZE"), ("a", "1"), ("long name", "1234")]
    assert in_columns(rows, right=[1]).split("\n") == [
        "NAME       SIZE",
        "a             1",
        "long name  1234",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \N{SNOWMAN}", "plain \N{SNOWMAN}"),
        ("\x1b[2Jgone\nforged line", "\\x1b[2Jgone forged line"),
        ("\x07\ud800", "\\x07\\xed\\xa0\\x80"),
    ],
)
def test_a_terminal_obeys_nothing(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_other_byte_is_shown_by_number() -> None:
    assert escape(bytes(range(256)).decode("latin-1")).isprintable()
    assert escape("a\x9b") == "a\\x9b"


def test_shortened_text_says_so() -> None:
    assert shortened("x" * 160, 160) == "x" * 160
    assert shortened("x" * 161, 160) == "x" * 157 + "..."
