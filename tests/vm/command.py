"""Programs run to their end while something is built."""

import os
import subprocess


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
