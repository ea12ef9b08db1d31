"""Programs run to their end while something is built."""

import os
import subprocess
from pathlib import Path

STEP = Path(__file__).parents[2] / "scripts/step"


def run(*command: str, **variables: str) -> str:
    """Run a program and return its output. Raises RuntimeError with all of it if it fails."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}")
    return result.stdout


def step(text: str, *command: str, cwd: Path | None = None, **variables: str) -> None:
    """Run a program that takes a while, and show on standard error how far it is.

    Raises:
        RuntimeError: it failed; what it printed has been shown.
    """
    result = subprocess.run(
        [str(STEP), text, *command], cwd=cwd, check=False, env={**os.environ, **variables}
    )
    if result.returncode != 0:
        raise RuntimeError(f"{text}: exit status {result.returncode}")
