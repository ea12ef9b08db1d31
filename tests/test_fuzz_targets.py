"""A short run of every fuzz target, and of the checks that they share."""

import pytest
from attrs import evolve
from tests.fuzz import seeded
from tests.fuzz.target import SlowError, Target, refusal
from tests.fuzz.targets import TARGETS

from kdumpd.errors import ConfigError, FormatError

pytestmark = pytest.mark.slow

CASES = 2000


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_survived(name: str) -> None:
    target = TARGETS[name]
    for case in seeded.cases(target, CASES):
        try:
            target.try_case(case)
        except BaseException as error:
            error.add_note(f"the case: {case!r}")
            raise


def test_cases_are_the_same_for_the_same_number_only() -> None:
    target = TARGETS["vmcoreinfo"]
    assert list(seeded.cases(target, 50, 1)) == list(seeded.cases(target, 50, 1))
    assert list(seeded.cases(target, 50, 1)) != list(seeded.cases(target, 50, 2))


def test_the_seeds_come_first_and_no_case_is_too_long() -> None:
    target = evolve(TARGETS["vmcoreinfo"], max_bytes=40)
    found = list(seeded.cases(target, 200))
    seeds = target.seeds()
    assert found[: len(seeds)] == list(seeds)
    assert len(found) == 200
    assert max(map(len, found[len(seeds) :])) == 40


def test_a_case_that_hangs_is_found() -> None:
    def hang(_case: bytes) -> None:
        while True:
            pass

    with pytest.raises(SlowError):
        Target(run=hang, seeds=list, max_bytes=1, cpu_s=0.05).try_case(b"")


def test_an_error_of_another_kind_is_found() -> None:
    with pytest.raises(ConfigError), refusal(FormatError):
        raise ConfigError("wrong")


@pytest.mark.parametrize("text", ["", "two\nlines", "\x1b[2J", "a sentence.", "x" * 1001])
def test_an_error_whose_text_cannot_be_shown_is_found(text: str) -> None:
    with pytest.raises(AssertionError), refusal(FormatError):
        raise FormatError(text)
