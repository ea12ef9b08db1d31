"""The command line as a person meets it: exit codes, one line, no traceback. Real processes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest


def kdumpd(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdumpd", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


def test_in_a_system_kernel_it_says_whether_this_machine_is_armed(tmp_path: Path) -> None:
    config = tmp_path / "kdumpd.toml"
    config.write_text(f'[storage]\nmountpoint = "{tmp_path}/persist"\n')
    done = kdumpd("run", "--config", config)
    assert done.returncode == 0
    assert re.fullmatch(r"kdumpd: not armed: [a-z-]+ \S.*\n", done.stdout)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [config]


def test_in_a_system_kernel_the_boot_goes_on_whatever_is_wrong_with_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "kdumpd.toml"
    config.write_text("[dump]\nlevel = 99\n")
    done = kdumpd("run", "--config", config)
    assert done.returncode == 0
    line = f"kdumpd: not armed: wrong-config {config}: dump.level: must be 0 to 31, not 99\n"
    assert (done.stdout, done.stderr) == (line, "")


@pytest.mark.slow
def test_in_a_system_kernel_it_takes_a_fifth_of_a_second() -> None:
    def seconds() -> float:
        began = time.monotonic()
        kdumpd("run")
        return time.monotonic() - began

    assert min(seconds() for _ in range(5)) < 0.2


def test_a_drill_asks_first_and_crashes_no_machine_that_is_not_armed(tmp_path: Path) -> None:
    config = tmp_path / "kdumpd.toml"
    config.write_text(f'[storage]\nmountpoint = "{tmp_path}/persist"\n')
    done = kdumpd("drill", "--config", config)
    assert done.returncode == 1
    assert re.fullmatch(r"kdumpd: drill failed: [a-z-]+: \S.*\n", done.stdout)
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.parametrize("command", ["run", "status"])
def test_in_a_system_kernel_trio_is_not_even_loaded(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kdumpd", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "kdumpd.config" in loaded
    assert not {"trio", "pyudev", "drgn", "rich", "asyncio", "ssl"} & loaded


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[dump]\nlevel = 99\n", "dump.level: must be 0 to 31, not 99"),
        ("[dump]\nlvl = 1\n", "dump.lvl: unknown key (known: directory, "),
        ('[dump]\nenabled = "yes"\n', "dump.enabled: must be true or false, not 'yes'"),
    ],
)
def test_a_wrong_config_is_exit_2_and_one_line(tmp_path: Path, text: str, line: str) -> None:
    config = tmp_path / "kdumpd.toml"
    config.write_text(text)
    done = kdumpd("status", "--config", config)
    assert done.returncode == 2
    assert done.stderr.startswith(f"kdumpd: {config}: {line}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_missing_config_is_exit_2() -> None:
    done = kdumpd("status", "--config", "/nonexistent.toml")
    assert done.returncode == 2
    assert done.stderr == "kdumpd: /nonexistent.toml: no such file\n"


@pytest.mark.parametrize("arguments", [(), ("fly",), ("run", "--fast")])
def test_a_wrong_argument_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = kdumpd(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.fixture
def broken_vmcore(tmp_path: Path) -> Path:
    """A configuration whose vmcore is garbage and whose storage never comes; its console is a file."""
    (tmp_path / "vmcore").write_bytes(b"garbage")
    (tmp_path / "console").write_bytes(b"")
    config = tmp_path / "kdumpd.toml"
    config.write_text(
        f"""
        [vmcore]
        path = "{tmp_path}/vmcore"
        [storage]
        mountpoint = "{tmp_path}/persist"
        wait_s = 0.5
        [console]
        targets = ["{tmp_path}/console"]
        [watchdog]
        device = ""
        """
    )
    return config


def test_a_run_without_reboot_says_what_it_would_do(broken_vmcore: Path) -> None:
    done = kdumpd("run", "--no-reboot", "--config", broken_vmcore, PATH="/nonexistent")
    console = (broken_vmcore.parent / "console").read_text()
    assert done.returncode == 1
    assert done.stderr == ""
    assert "kdumpd: no device labelled P3 yet, " in console
    assert "BEGIN kernel panic" in console
    assert "no log could be read" in console
    assert (
        "kdumpd: kernel panic, nothing collected: makedumpfile not found; vmcore-dmesg not found" in console
    )
    assert "kdumpd: without --no-reboot: sync, unmount" in console


@pytest.mark.slow
def test_a_program_that_hangs_costs_no_more_than_the_budget(broken_vmcore: Path) -> None:
    makedumpfile = broken_vmcore.parent / "mdf"
    makedumpfile.write_text("#!/bin/sh\ntrap '' TERM INT\nsleep 60\n")
    makedumpfile.chmod(0o755)
    with broken_vmcore.open("a") as file:
        file.write(f'[dump]\nmakedumpfile = "{makedumpfile}"\n[budget]\ntotal_s = 1\ngrace_s = 5\n')
    began = time.monotonic()
    done = kdumpd("run", "--no-reboot", "--config", broken_vmcore)
    assert done.returncode == 1
    assert time.monotonic() - began < 10


HUNG_LOOP = """
import os, time, trio
from kdumpd.config import parse_config
from kdumpd.host.linux import LinuxMachine
from kdumpd.run.supervisor import supervise

class Hung(LinuxMachine):
    def mounts(self):
        time.sleep(60)  # not a trio sleep: the event loop itself hangs

config = parse_config("[budget]\\ntotal_s = 0.3\\ngrace_s = 0.3\\n[watchdog]\\ndevice = ''")
trio.run(lambda: supervise(config, machine=Hung(), on_deadline=lambda: os._exit(7)))
"""


def test_the_deadline_acts_although_the_event_loop_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", HUNG_LOOP], timeout=30, check=False, capture_output=True)
    assert done.returncode == 7
    assert done.stderr == b""


def test_status_names_what_is_missing_and_exits_1() -> None:
    done = kdumpd("status")
    assert done.returncode == 1
    assert done.stdout.startswith("kdumpd: NOT ARMED\nreason ")
    assert len(done.stdout.splitlines()) <= 24
    assert done.stderr == ""


def test_status_for_programs_and_with_a_wrong_config(tmp_path: Path) -> None:
    assert json.loads(kdumpd("status", "--json").stdout)["armed"] is False
    (tmp_path / "wrong.toml").write_text("[dump]\nlevel = 99\n")
    done = kdumpd("status", "--config", tmp_path / "wrong.toml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
