"""The page as a browser shows it, on a desk and in a hand, by day and by night."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.analysis import sample
from tests.analysis.browser import Browser, browser

from kdumpd.analysis import page
from kdumpd.analysis.findings import Report

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": (1280, 800), "phone": (360, 740)}
STICKS_OUT = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OVERFLOWING = """
Array.from(document.querySelectorAll("body *"))
  .filter((e) => !e.closest(".wide, nav, pre") && e.getBoundingClientRect().right > innerWidth + 1)
  .map((e) => e.tagName + "." + e.className)
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def open_page(chromium: Browser, tmp_path: Path) -> Browser:
    (tmp_path / "page.html").write_text(page.render(sample.REPORT), encoding="utf-8")
    chromium.requests.clear()
    chromium.errors.clear()
    chromium.open(tmp_path / "page.html", width=1280, height=800)
    return chromium


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("report", [sample.REPORT, sample.BARE], ids=["full", "bare"])
def test_nothing_is_requested_and_nothing_sticks_out(
    chromium: Browser, tmp_path: Path, report: Report, width: str, dark: bool
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page.render(report), encoding="utf-8")
    chromium.requests.clear()
    chromium.errors.clear()
    pixels, height = WIDTHS[width]
    chromium.open(path, width=pixels, height=height, dark=dark)
    chromium.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert chromium.evaluate("innerWidth") == pixels
    assert chromium.evaluate(STICKS_OUT) == 0
    assert chromium.evaluate(OVERFLOWING) == []
    shade = chromium.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(shade) < 100) == dark
    chromium.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    assert chromium.requests == [path.as_uri()]
    assert chromium.errors == []


def test_the_checks_see_what_is_wrong(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'>"
        "<body><img src='http://127.0.0.1:1/x.png'><div style='width:4000px'>wide</div></body>"
    )
    chromium.requests.clear()
    chromium.open(path, width=360, height=740)
    assert chromium.evaluate(STICKS_OUT) > 0
    assert "DIV." in chromium.evaluate(OVERFLOWING)
    assert "http://127.0.0.1:1/x.png" in chromium.requests


def test_the_policy_stops_what_would_be_loaded(open_page: Browser) -> None:
    script = """new Promise((resolve) => {
      document.addEventListener("securitypolicyviolation", (e) => resolve(e.effectiveDirective));
      document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:1/x.png"}));
    })"""
    assert open_page.evaluate(script) == "img-src"


def type_in(chromium: Browser, target: str, text: str) -> None:
    field = f"document.querySelector('[data-target={target}]')"
    chromium.evaluate(f"{field}.value = {text!r}; {field}.dispatchEvent(new Event('input'))")


def test_the_log_is_searched(open_page: Browser) -> None:
    shown = "document.querySelectorAll('#log-lines > :not(.hidden)').length"
    assert open_page.evaluate(shown) == 5
    type_in(open_page, "log-lines", "NULL pointer")
    assert open_page.evaluate(shown) == 1
    assert open_page.evaluate("document.querySelector('#log output').textContent") == "1 of 5"
    type_in(open_page, "log-lines", "")
    assert open_page.evaluate(shown) == 5


def test_many_tasks_are_folded_and_still_found(open_page: Browser) -> None:
    shown = """Array.from(document.querySelectorAll('#tasks tbody tr'))
      .filter((row) => row.getClientRects().length).length"""
    assert open_page.evaluate(shown) == 15
    type_in(open_page, "tasks-table", "1059")
    assert open_page.evaluate(shown) == 1
    type_in(open_page, "tasks-table", "")
    assert open_page.evaluate(shown) == 15
    open_page.evaluate("document.querySelector('.more').click()")
    assert open_page.evaluate(shown) == 63


def test_the_theme_is_the_readers_choice(open_page: Browser) -> None:
    shade = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert open_page.evaluate(shade) > 200
    open_page.evaluate("document.getElementById('theme').click()")
    assert open_page.evaluate(shade) < 60
    open_page.evaluate("document.getElementById('theme').click()")
    assert open_page.evaluate(shade) > 200
