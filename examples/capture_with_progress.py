"""A dump with a progress bar of one's own, in a capture kernel.

Run it as it is:  python examples/capture_with_progress.py /persist/my.dump
"""

import sys
from typing import Final

import trio

import kdumpd

WIDTH: Final = 40


def bar(progress: kdumpd.Progress) -> str:
    """One line: a bar, percent, size."""
    percent = progress.percent or 0.0
    full = round(WIDTH * percent / 100)
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {percent:5.1f} % {progress.size_bytes / 2**20:8.1f} MiB"


async def capture(path: str, machine: kdumpd.Machine | None = None) -> kdumpd.Verdict:
    """Make the dump, at most ten minutes long, and say what became of it."""
    settings = kdumpd.DumpSettings(time_s=600, compression="lzo")
    verdict = await kdumpd.capture_dump(
        path, settings=settings, progress=lambda now: print(bar(now), end="\r"), machine=machine
    )
    print()
    print(f"{path}: {verdict.state}" + (f" ({verdict.why})" if verdict.why else ""))
    return verdict


if __name__ == "__main__":
    try:
        trio.run(capture, sys.argv[1])
    except kdumpd.KdumpError as error:
        sys.exit(f"no dump: {error}")
