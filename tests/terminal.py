"""A terminal at which nobody sits."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path


def at_terminal(
    command: Sequence[str | Path], *, limit_s: float, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a pseudo terminal of its own, whose output is returned; nobody answers what it asks.

    Raises:
        subprocess.TimeoutExpired: it has not ended in time; it is killed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "DEBIAN_FRONTEND"}
    # script(1) passes the end of its own input on, which would be an answer
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            ["script", "-qefc", shlex.join(map(str, command)), "/dev/null"],
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=limit_s,
            env=environment | variables,
        )
    finally:
        os.close(reading)
        os.close(writing)
    # what renews a line in place stays: a carriage return alone
    shown = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    return subprocess.CompletedProcess(done.args, done.returncode, shown)
