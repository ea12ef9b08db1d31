"""Where /proc shows another pid namespace than ours: the log is read, and no other process is touched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

LOG = "[    7.000000] Kernel panic - not syncing: test\n"
MAKEDUMPFILE = f"""#!/bin/sh
printf '{LOG}'
"""
INSIDE = """
import json, os, sys
from pathlib import Path
import trio
from kdumpd.dump.tools import read_log
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.process import open_child, program_with_pipe

def adjusted():
    for folder in Path("/proc").glob("[0-9]*"):
        if (folder / "oom_score_adj").read_text() == "500\\n":
            yield (folder / "comm").read_text().strip()

async def main():
    assert os.getpid() == 1 and os.readlink("/proc/self") != "1"
    log = await read_log(LinuxMachine(), program=sys.argv[1], vmcore="/dev/null")
    async with program_with_pipe(open_child, ["sleep", "60"]):
        await trio.sleep(0.2)
        print(json.dumps({"log": log.data.decode(), "warnings": log.warnings, "adjusted": list(adjusted())}))

trio.run(main)
"""


def test_proc_of_another_pid_namespace(tmp_path: Path) -> None:
    program = tmp_path / "mdf"
    program.write_text(MAKEDUMPFILE)
    program.chmod(0o755)
    # The first namespace has a /proc of its own; in the second one, inside it, that /proc is another's.
    outer = ["unshare", "--pid", "--fork", "--mount-proc"]
    inner = ["unshare", "--pid", "--fork"]
    done = subprocess.run(
        [*outer, *inner, sys.executable, "-c", INSIDE, program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"log": LOG, "warnings": [], "adjusted": ["sleep"]}
