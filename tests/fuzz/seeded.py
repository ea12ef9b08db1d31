"""Cases without atheris: the seeds, changed at random but the same for the same number."""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from tests.fuzz.target import Target

_CHANGES: Final = 4


def cases(target: Target, count: int, number: int = 0) -> Iterator[bytes]:
    """So many cases: each seed as it is, then changed ones."""
    chance = random.Random(number)
    seeds = target.seeds()
    yield from seeds[:count]
    for _ in range(count - len(seeds)):
        case = chance.choice(seeds)
        for _ in range(chance.randint(1, _CHANGES)):
            case = _changed(case, seeds, target.words, chance)
        yield case[: target.max_bytes]


def _changed(case: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    """One change: a byte, a piece taken out, doubled or brought in from elsewhere."""
    start = chance.randint(0, len(case))
    end = min(start + chance.choice((0, 1, 4, 16, 64)), len(case))
    other = chance.choice(seeds)
    piece = chance.choice(
        (
            b"",
            chance.randbytes(end - start),
            case[start:end] * 2,
            chance.choice(words or (b"\0",)),
            other[chance.randint(0, len(other)) :][:64],
        )
    )
    return case[:start] + piece + case[end:]
