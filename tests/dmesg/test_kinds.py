"""One log for each kind of report, and what must be found in it (tests/data/kinds/cases.toml).

Keys: ``crash = false``: none; ``cause``, ``symbol``, ``command``, ``pid``, ``cpu``, ``release``: equal
("none" is None); ``title_has``, ``text_has``, ``text_lacks``; ``frames_have``, ``frames_lack``;
``fingerprint_same_as`` and ``fingerprint_differs_from``: another case; ``log``: the file of another case.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from kdumpd.dmesg.panic import Panic, find_panic

KINDS = Path(__file__).parents[1] / "data" / "kinds"
CASES: dict[str, dict[str, Any]] = tomllib.loads((KINDS / "cases.toml").read_text())
CRASHES = sorted(name for name, want in CASES.items() if want.get("crash", True))
EQUAL = ("cause", "symbol", "command", "pid", "cpu", "release")


def read(name: str) -> Panic | None:
    return find_panic((KINDS / f"{CASES[name].get('log', name)}.log").read_bytes())


def test_every_log_has_its_case() -> None:
    assert {path.stem for path in KINDS.glob("*.log")} <= CASES.keys()


@pytest.mark.parametrize("name", sorted(CASES.keys() - set(CRASHES)))
def test_no_crash(name: str) -> None:
    assert read(name) is None


@pytest.mark.parametrize("name", CRASHES)
def test_kind(name: str) -> None:
    panic, want = read(name), CASES[name]
    assert panic is not None
    for key in set(EQUAL) & want.keys():
        assert getattr(panic, key) == (None if want[key] == "none" else want[key]), key
    assert want.get("title_has", "") in panic.title
    text = "\n".join(panic.text)
    assert [part for part in want.get("text_has", ()) if part not in text] == []
    assert [part for part in want.get("text_lacks", ()) if part in text] == []
    assert set(want.get("frames_have", ())) <= set(panic.frames)
    assert set(want.get("frames_lack", ())).isdisjoint(panic.frames)
    for key, same in (("fingerprint_same_as", True), ("fingerprint_differs_from", False)):
        other = read(want[key]) if key in want else None
        assert other is None or (other.fingerprint == panic.fingerprint) is same
