"""The report as a page: whole, self-contained, and nothing in it is ever run."""

import base64
import hashlib
import html
import re
from html.parser import HTMLParser

import pytest
from tests.analysis import sample

from kdumpd.analysis import page
from kdumpd.analysis.findings import Report

VOID = {"meta", "link", "input"}
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Reader(HTMLParser):
    """Reads a page as strictly as a browser does not."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.loads += [value or "" for name, value in attrs if name in LOADING]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("report", [sample.REPORT, sample.BARE], ids=["full", "bare"])
def test_the_page_is_well_formed_and_loads_nothing(report: Report) -> None:
    text = page.render(report)
    read = Reader(text)
    assert len(set(read.ids)) == len(read.ids)
    links = {load.removeprefix("#") for load in read.loads if load.startswith("#")}
    assert links <= set(read.ids)
    assert {load for load in read.loads if not load.startswith("#")} == {"data:,"}
    assert not re.search(r"@import|url\(|https?://", text)


def test_hostile_text_stays_text() -> None:
    text = page.render(sample.REPORT)
    read = Reader(text)
    assert read.names.count("script") == 1
    assert read.text.count(sample.HOSTILE) == 3
    assert "<script>alert" not in text


def test_every_section_is_there() -> None:
    ids = Reader(page.render(sample.REPORT)).ids
    sections = [
        "backtrace",
        "cpus",
        "blocked",
        "capture",
        "memory",
        "tasks",
        "devices",
        "mounts",
        "modules",
        "log",
    ]
    assert [name for name in ids if name in sections] == sections
    assert "missing" not in ids


def test_what_could_not_be_read_is_one_section() -> None:
    read = Reader(page.render(sample.BARE))
    assert [name for name in read.ids if name != "theme"] == ["capture", "missing", "log", "log-lines"]
    assert read.text.count("this leads to memory that is not in the dump") == 9


def test_the_function_that_crashed_is_marked() -> None:
    marked = re.findall(
        r'<li class="here">.*?<code class="function">([^<]*)', page.render(sample.REPORT), re.DOTALL
    )
    assert marked == ["write_to_null"]


def test_phases_are_bars_where_they_were() -> None:
    text = page.render(sample.REPORT)
    # log: 0.032 s to 0.302 s, dump: 1 s to 10.3 s
    assert "margin-left:0.311%;width:2.621%" in text
    assert "margin-left:9.709%;width:90.291%" in text


def test_a_browser_is_told_to_run_nothing_but_the_pages_own_script() -> None:
    text = page.render(sample.REPORT)
    policy = html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[0])
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_a_log_of_the_page_has_its_lines_and_nothing_between_them() -> None:
    text = page.render(sample.REPORT)
    lines = re.findall(r'<pre id="log-lines" tabindex="0">(.*)</pre>', text, re.DOTALL)[0]
    assert re.sub(r"<[^>]*>", "", lines).count("\n") == len(sample.REPORT.log)
    assert '<span class="severe">[   10.173795] BUG' in lines
    assert '<span class="doubtful">' not in lines
