"""Cases that atheris finds: it keeps those that reach new code and goes on from them."""

import sys
from pathlib import Path
from typing import Final

import atheris

# A real hang; a case's CPU time is measured by the target itself.
_HANG_S: Final = 60
_MEMORY_MIB: Final = 512


def search(name: str, runs: int, folder: Path) -> None:
    """Run a target so many times and exit: 0, or another code when a case failed.

    What was found is kept in the folder: `corpus` to start from the next time, `crash-*` and the like for
    a case that failed.
    """
    with atheris.instrument_imports(include=["kdumpd", "tomllib"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - what it imports is to be instrumented
    target = TARGETS[name]
    corpus, seeds, dictionary = folder / "corpus", folder / "seeds", folder / "dictionary"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (seeds / f"{number:03}").write_bytes(seed)
    # An empty dictionary is an error to libFuzzer.
    dictionary.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words or (b"\0",)))
    options = [
        f"-runs={runs}",
        f"-max_len={target.max_bytes}",
        f"-timeout={_HANG_S}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-dict={dictionary}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], target.try_case)
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
