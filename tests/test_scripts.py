"""The scripts that a newcomer types: none of them asks, each shows how far it is and what went wrong."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.terminal import at_terminal
from tests.test_image import instructions

ROOT = Path(__file__).parents[1]
STEP = ROOT / "scripts/step"
LIMIT_S = 20
# What installs packages asks where a package's configuration would: at the terminal, or on standard input.
ASKING = """#!/bin/bash
[ "${1:-}" != indextargets ] || exit 0
echo "${0##*/} $*" >> "${0%/*}/calls"
[ "${DEBIAN_FRONTEND:-}" = noninteractive ] || read -rp "Geographic area: " < /dev/tty
[ ! -t 0 ] || read -rp "overwrite the file that you changed? "
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Stand-ins for what changes the machine, to be found first."""
    folder = tmp_path / "programs"
    folder.mkdir()
    texts = {"apt-get": ASKING, "mmdebstrap": ASKING, "rm": "#!/bin/sh\n", "id": "#!/bin/sh\necho 0\n"}
    texts["buildah"] = '#!/bin/sh\ncase " $* " in *" inspect "* | *" push "*) exit 1 ;; esac\n'
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def tried(programs: Path, *command: str | Path) -> list[str]:
    """Run a command that installs, at a terminal where nobody answers; returns what was called."""
    path = f"{programs}:{os.environ['PATH']}"
    at_terminal(command, limit_s=LIMIT_S, PATH=path, XDG_CACHE_HOME=str(programs / "cache"))
    return (programs / "calls").read_text().splitlines()


def test_packages_of_this_machine_ask_nothing(programs: Path) -> None:
    calls = tried(programs, ROOT / "scripts/install", "tzdata")
    assert calls[0].startswith("apt-get update")
    assert re.fullmatch("apt-get install .*--yes .*tzdata", calls[1])


def test_packages_of_the_image_ask_nothing(programs: Path) -> None:
    installs = [
        text
        for word, text in instructions((ROOT / "Dockerfile").read_text())
        if word == "RUN" and "apt-get" in text
    ]
    assert installs
    for text in installs:
        assert "apt-get install" in tried(programs, "bash", "-euo", "pipefail", "-c", text)[1]


def test_packages_of_a_guest_ask_nothing(programs: Path) -> None:
    script = """
from pathlib import Path
from tests.vm import debian
debian.install("a guest", "forky", Path("root"), ["tzdata"])
"""
    calls = tried(programs, "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", script)
    assert any(call.startswith("mmdebstrap ") for call in calls)


@pytest.mark.system
def test_packages_of_the_images_base_ask_nothing(programs: Path) -> None:
    assert any(call.startswith("mmdebstrap ") for call in tried(programs, ROOT / "scripts/image"))


def test_a_question_would_be_found(programs: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        at_terminal([programs / "apt-get", "install", "tzdata"], limit_s=0.5)


def test_packages_are_installed_in_these_places_alone() -> None:
    """A new one has a test above that it asks nothing."""
    programs = (
        r"\b(apt-get|apt|aptitude) (-\S+ )*install|dpkg (-i|--install)|(mmdebstrap|debootstrap)( -|\",)"
    )
    installs = re.compile(f"^[^#]*({programs})")
    tests_of_them = {"tests/test_scripts.py", "tests/test_image.py"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {name for name in listed.split() if not name.endswith(".md") and (ROOT / name).is_file()}
    found = {
        name
        for name in files - tests_of_them
        for line in (ROOT / name).read_bytes().decode(errors="replace").splitlines()
        if installs.search(line)
    }
    # That one is run by EVE's build, in one line that a look shows to ask nothing.
    of_eve = "etc/eve/pkg/kdump/Dockerfile"
    assert found == {"Dockerfile", "scripts/install", "scripts/image", "tests/vm/debian.py", of_eve}
    asked = [line for line in (ROOT / of_eve).read_text().splitlines() if installs.search(line)]
    assert all("DEBIAN_FRONTEND=noninteractive" in line and "< /dev/null" in line for line in asked)


def plain(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a step without a terminal."""
    return subprocess.run([STEP, *command], capture_output=True, text=True, check=False, timeout=LIMIT_S)


def test_a_step_is_a_line_before_and_after() -> None:
    done = plain("making it", "echo", "quiet")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"making it \.\.\.\nmaking it: done, \d s\n", done.stderr)


@pytest.mark.slow
def test_a_step_is_one_live_line_on_a_terminal() -> None:
    done = at_terminal(
        [STEP, "making it", "sh", "-c", "echo I: extracting archives...; sleep 2.5"], limit_s=LIMIT_S
    )
    states = done.stdout.split("\r")
    assert any(re.fullmatch(r"making it: \d s, extracting archives\x1b\[K", state) for state in states)
    assert re.search(r"\x1b\[Kmaking it: done, \d s$", done.stdout.rstrip())


def test_a_step_that_fails_says_first_what_matters() -> None:
    script = "echo one; echo 'E: Unable to locate package x'; echo 'done anyway'; exit 100"
    done = plain("packages", "sh", "-c", script)
    _, what, _, *rest = done.stderr.splitlines()
    assert done.returncode == 100
    assert re.fullmatch(
        r"packages: failed with exit status 100 after \d s: E: Unable to locate package x", what
    )
    assert rest == ["    one", "    E: Unable to locate package x", "    done anyway"]
    Path(re.findall(r"all of which is in (\S+):", done.stderr)[0]).unlink()


@pytest.mark.parametrize(
    ("script", "why"),
    [("exit 3", "it printed nothing"), ("echo a; echo the last; exit 3", "the last")],
)
def test_a_step_that_names_no_error_says_its_last_line(script: str, why: str) -> None:
    done = plain("it", "sh", "-c", script)
    assert done.stderr.splitlines()[1].endswith(f"s: {why}")
    Path(re.findall(r"all of which is in (\S+):", done.stderr)[0]).unlink()


def test_nothing_of_a_step_outlives_it() -> None:
    command = [str(STEP), "it", "sleep", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as step:
        assert step.stderr is not None
        assert step.stderr.readline() == "it ...\n"
        started = time.monotonic()
        os.killpg(step.pid, signal.SIGTERM)
        # the end of the pipe: nobody holds it any more
        step.stderr.read()
        assert time.monotonic() - started < 5


APT = """\
0 upgraded, 42 newly installed, 0 to remove and 0 not upgraded.
Need to get 20.0 MB of archives.
Get:1 http://archive.invalid forky/main amd64 python3 amd64 [4,500 kB]
"""


@pytest.mark.parametrize(
    ("printed", "progress"),
    [
        ("nothing of use\n", ""),
        (APT, "4.5 of 20 MB"),
        (APT + "dlstatus:1:12.5:Retrieving file 1 of 42\n", "2.5 of 20 MB"),
        (APT + "Unpacking python3 ...\nUnpacking perl ...\n", "unpacking 2 of 42"),
        (APT + "Unpacking python3 ...\nSetting up python3 ...\n", "setting up 1 of 42"),
        ("Need to get 5,000 kB/110 MB of archives.\nGet:1 x [1 MB]\n", "1.0 of 5.0 MB"),
        ("Get:1 http://archive.invalid x [283 MB]\ndlstatus:1:50.0:Retrieving\n", "142 of 283 MB"),
        ("Collecting trio\n  Downloading trio-0.27-py3-none-any.whl (481 kB)\n", "0.5 MB, collecting trio"),
        ("I: installing essential packages...\nUnpacking a\n", "unpacking 1, installing essential packages"),
        ("STEP 3/7: RUN apt-get update\nGet:1 x [16.9 MB]\n", "step 3 of 7, 17 MB"),
        ("[2/3] STEP 4/4: RUN true\n", "stage 2 of 3, step 4 of 4"),
        (APT + "[2/3] STEP 4/4: RUN true\n", "stage 2 of 3, step 4 of 4"),
    ],
)
def test_how_far_a_command_is(printed: str, progress: str) -> None:
    command = ["awk", "-f", str(ROOT / "scripts/step.awk")]
    done = subprocess.run(command, input=printed, capture_output=True, text=True, check=True)
    assert done.stdout == f"{progress}\n"


def test_what_was_fetched_is_said_at_the_end() -> None:
    command = ["awk", "-v", "ended=1", "-f", str(ROOT / "scripts/step.awk")]
    done = subprocess.run(command, input=APT + APT, capture_output=True, text=True, check=True)
    assert done.stdout == "9.0 MB fetched\n"


FAILING = """
import pytest

@pytest.fixture
def disk():
    raise OSError("no disk")

def test_with_a_disk(disk): pass

def test_of_numbers(): assert 1 == 2, "numbers are odd"

def test_that_passes(): pass
"""


@pytest.mark.slow
def test_ci_names_what_failed_and_why(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILING)
    log = tmp_path / "log"
    with log.open("w") as output:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            os.devnull,
            "--rootdir",
            str(tmp_path),
            str(tmp_path),
        ]
        subprocess.run(command, stdout=output, check=False, timeout=60)
    told = subprocess.run([ROOT / ".ci/failures", log], capture_output=True, text=True, check=True).stdout
    assert "ERROR at setup of test_with_a_disk\n    OSError: no disk\n" in told
    assert "test_of_numbers\n    AssertionError: numbers are odd\n    assert 1 == 2\n" in told
    assert re.search(r"^    \S*test_it.py:\d+: AssertionError$", told, re.MULTILINE)
    assert "test_that_passes" not in told


def test_ci_shows_the_end_of_a_run_that_came_to_no_test(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("E: no such package\n")
    told = subprocess.run(
        [ROOT / ".ci/failures", tmp_path / "log"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "no test did; the last lines were:\n    E: no such package\n"


FLAKY = """#!/bin/sh
if [ "${1:-}" = --last-failed ]; then exit "$SECOND"; fi
echo '____ test_of_time ____'
echo 'E   AssertionError: 135 s until the restart'
exit 1
"""


@pytest.mark.parametrize(("second", "word"), [(0, "passed the second"), (1, "some of it again")])
def test_ci_says_at_its_end_what_failed_the_first_time(tmp_path: Path, second: int, word: str) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "scripts").mkdir()
    for name, text in {"check": "#!/bin/sh\n", "test": FLAKY}.items():
        (tmp_path / "scripts" / name).write_text(text)
        (tmp_path / "scripts" / name).chmod(0o755)
    done = subprocess.run(
        [tmp_path / ".ci/run"],
        env=os.environ | {"SECOND": str(second)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == second
    assert done.stdout.endswith(
        f"=== failed the first time, and {word}:\ntest_of_time\n    AssertionError: 135 s until the restart\n"
    )
