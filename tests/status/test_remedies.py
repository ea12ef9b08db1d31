"""Every finding has a code that is used, documented, and short enough for a line of the screen."""

import re
from pathlib import Path

import pytest

from kdumpd.status.remedies import REASONS, RESERVATION, WARNINGS

ROOT = Path(__file__).parents[2]
SOURCES = "".join(
    (ROOT / f"src/kdumpd/{name}.py").read_text() for name in ("status/assess", "storage/volume")
)
PAGE = (ROOT / "docs/operating.md").read_text()


@pytest.mark.parametrize("code", [*REASONS, *WARNINGS])
def test_a_code_is_used_and_documented(code: str) -> None:
    assert f'"{code}"' in SOURCES
    assert f"`{code}`" in PAGE


def test_a_code_is_either_a_reason_or_a_warning() -> None:
    assert REASONS.keys() & WARNINGS.keys() == set()


def test_remedies_fit_two_lines_of_the_screen() -> None:
    assert [code for code, remedy in (REASONS | WARNINGS).items() if not 0 < len(remedy) <= 2 * 68] == []


def test_the_reservation_is_the_documented_one() -> None:
    assert re.search(rf"^{re.escape(RESERVATION)}$", PAGE, re.MULTILINE)
