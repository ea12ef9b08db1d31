"""The documentation is true: its code runs, its links lead somewhere, its reference is complete."""

import contextlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

import kdumpd
import kdumpd.testing
from kdumpd.config import parse_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

# A block is run by its language; one without a language, or of text, shows output or a file's form.
BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PRINTS = "It prints:"


@frozen(kw_only=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: where it stands.
        line: of its first line.
        info: what stands behind the fence: a language, and how to try it.
        text: its content.
        printed: what the page says that it prints; None if it says nothing.
    """

    page: Path
    line: int
    info: str
    text: str
    printed: str | None = None

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def how(self) -> str:
        return self.info.partition(" ")[2]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    found = list(BLOCK.finditer(text))
    for match, following in itertools.zip_longest(found, found[1:]):
        shown = following is not None and text[match.end() : following.start()].strip() == PRINTS
        yield Block(
            page=page,
            line=text[: match.start(2)].count("\n") + 1,
            info=match[1],
            text=match[2],
            printed=following[2] if shown and following else None,
        )


ALL = [block for page in PAGES for block in blocks(page)]


def of(language: str, how: str = "") -> list[Block]:
    return [block for block in ALL if (block.language, block.how) == (language, how)]


def test_each_block_is_run_or_says_why_not() -> None:
    for block in ALL:
        if block.how.startswith("notest"):
            assert re.fullmatch(r"notest: \S.{9,}", block.how), f"{block}: no reason is given"
        else:
            assert block.info in {"", "text", "python", "python pytest", "sh", "toml", "json"}, block


@pytest.mark.parametrize("page", sorted({block.page for block in of("python")}), ids=lambda page: page.name)
def test_python_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page are one program: a later one uses what an earlier one has defined."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in of("python"):
        if block.page == page:
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, namespace)
            assert block.printed in (None, printed.getvalue()), block


@pytest.mark.parametrize("block", of("python", "pytest"), ids=str)
def test_blocks_that_are_tests(block: Block, tmp_path: Path) -> None:
    (tmp_path / "test_block.py").write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", tmp_path], capture_output=True, text=True, check=False
    )
    assert re.search(r"^[1-9]\d* passed in", done.stdout, re.MULTILINE), done.stdout


def test_shell_blocks(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for block in of("sh"):
        done = subprocess.run(
            ["bash", "-eu", "-c", block.text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"
        assert block.printed in (None, done.stdout), block


def test_toml_blocks_are_configurations() -> None:
    for block in of("toml"):
        parse_config(block.text, source=str(block))


def test_json_blocks() -> None:
    for block in of("json"):
        json.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(BLOCK.sub("", page.read_text()))
    local = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_reference_has_each_public_name_and_no_other() -> None:
    named = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    public = [f"kdumpd.{name}" for name in kdumpd.__all__]
    public += [f"kdumpd.testing.{name}" for name in kdumpd.testing.__all__]
    assert sorted(named) == sorted(public)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    page = (tmp_path / "reference.html").read_text()
    assert 'id="kdumpd.supervise"' in page
    assert "Collect a crash and end the run." in page
