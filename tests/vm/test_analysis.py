"""From real dumps to answers, with the kernel's own debug symbols: kdumpd, drgn and crash(8)."""

import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import drgn
import jsonschema
import pytest
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg

from kdumpd import DumpSettings, Verdict, capture_dump
from kdumpd.crashes.inventory import read_folder
from kdumpd.dump import kdumpfile

from .modules import source
from .recording import vmcore
from .scenario import Scenario, crash
from .symbols import symbols

pytestmark = pytest.mark.vm

SUITE = "bookworm"
# lzo is quick where the processor is emulated
QUICK = '[dump]\ncompression = "lzo"\n[console]\nline_delay_s = 0.0\n'
TRIGGERS = ("null-dereference", "sysrq-c", "hung-task")
SCHEMA = json.loads((Path(__file__).parents[2] / "docs/crash-record.schema.json").read_text())
TARGET_S = 5


def line_of(trigger: str, text: str) -> str:
    """Where the compiler saw a line of a crashing module: `file:line`."""
    path = source(trigger)
    number = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)
    return f"/usr/src/crashers/{path.name}:{number}"


# The line that crashes; what comes after a call that never returns is next to it.
LOCATIONS = {
    "null-dereference": line_of("null-dereference", "*(volatile int *)NULL"),
    "sysrq-c": r"drivers/tty/sysrq\.c:\d+",
    "hung-task": line_of("hung-task", "schedule();"),
}


@pytest.fixture(scope="module")
def crashes() -> Iterator[Mapping[str, Path]]:
    """A crash folder for each trigger, and one more of the first."""
    with TemporaryDirectory(prefix="kdumpd-analysis-") as folder:
        yield {name: _crash(name, Path(folder) / name) for name in (*TRIGGERS, f"{TRIGGERS[0]}-again")}


def _crash(name: str, folder: Path) -> Path:
    folder.mkdir()
    scenario = Scenario(
        suite=SUITE,
        trigger=name.removesuffix("-again"),
        storage_delay_s=1,
        config=QUICK,
        persist_bytes=1 << 30,
    )
    run = crash(scenario, folder)
    assert run.ending == "guest-reset", run.text
    kept = run.persist.extract(folder / "persist") / "kcrashes"
    run.persist.path.unlink()
    return kept


@pytest.fixture(scope="module")
def debug() -> Path:
    return symbols(SUITE)


def kdumpd(*arguments: str | Path, code: int = 0, cache: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kdumpd", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {}),
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def analyzed(*arguments: str | Path) -> Any:
    return json.loads(kdumpd("analyze", *arguments, "--json"))


def functions(report: Any) -> list[str]:
    """The calls that have a frame of their own, from the function that crashed outwards."""
    frames = [f["function"] for f in report["crashed"]["found"]["frames"] if not f["inlined"]]
    symbol = report["record"]["symbol"]
    return frames[frames.index(symbol) :] if symbol in frames else frames


def test_one_cause_has_one_fingerprint_and_three_have_three(crashes: Mapping[str, Path]) -> None:
    records = {name: read_folder(folder)[0].record for name, folder in crashes.items()}
    first, again = (records[name] for name in (TRIGGERS[0], f"{TRIGGERS[0]}-again"))
    assert first.fingerprint == again.fingerprint
    assert len({records[name].fingerprint for name in TRIGGERS}) == 3
    assert first.panic_text != again.panic_text


def test_kaslr_was_on(crashes: Mapping[str, Path]) -> None:
    for folder in crashes.values():
        with read_folder(folder)[0].files["dump"].path.open("rb") as file:
            info = kdumpfile.read_header(file.fileno()).vmcoreinfo.decode()
        assert int(re.findall(r"KERNELOFFSET=(\w+)", info)[0], 16) > 0


def test_real_records_are_what_the_schema_describes(crashes: Mapping[str, Path]) -> None:
    for folder in crashes.values():
        (path,) = folder.glob("crash-*.json")
        jsonschema.validate(json.loads(path.read_text()), SCHEMA)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_line_that_crashed_is_named(crashes: Mapping[str, Path], debug: Path, trigger: str) -> None:
    kdumpd("analyze", crashes[trigger], "--debug", debug)  # the page cache has the symbols after this
    started = time.monotonic()
    shown = kdumpd("analyze", crashes[trigger], "--debug", debug)
    assert time.monotonic() - started < TARGET_S
    assert re.fullmatch(f"  at {LOCATIONS[trigger]}", shown.splitlines()[1])
    assert "Not to be had" not in shown
    assert "incomplete:" not in shown


def test_every_section_has_what_the_machine_had(crashes: Mapping[str, Path], debug: Path) -> None:
    report = analyzed(crashes["hung-task"], "--debug", debug)
    assert [task["command"] for task in report["blocked"]["found"][0]["tasks"]] == ["insmod"]
    assert report["crashed"]["found"]["tasks"][0]["command"] == "khungtaskd"
    commands = {task["command"] for task in report["tasks"]["found"]}
    assert {"init", "kthreadd", "insmod"} <= commands
    memory = report["memory"]["found"]
    assert 1 << 30 < memory["total_bytes"] < 2 << 30
    assert sum(share["size_bytes"] for share in memory["shares"]) == memory["total_bytes"]
    assert len(memory["caches"]) == 12
    assert {"name": "hung_task", "taints": "OE", "symbols": True}.items() <= report["modules"]["found"][
        0
    ].items()
    assert {"source": "proc", "target": "/proc", "type": "proc"} in report["mounts"]["found"]
    assert {"vda", "vdb"} <= {disk["name"] for disk in report["disks"]["found"]}
    assert report["machine"]["found"]["cpus"] == 2
    frames = report["blocked"]["found"][0]["frames"]
    assert any(variable["name"] == "fn" for frame in frames for variable in frame["variables"])


def test_without_a_modules_symbols_its_calls_have_names(crashes: Mapping[str, Path], debug: Path) -> None:
    (vmlinux,) = debug.glob("vmlinux-*")
    report = analyzed(crashes["null-dereference"], "--debug", vmlinux)
    assert functions(report) == functions(analyzed(crashes["null-dereference"], "--debug", debug))
    assert [frame["source"] for frame in report["crashed"]["found"]["frames"]][:2] == [None, None]
    assert report["place"] is None


@pytest.mark.parametrize("trigger", ["null-dereference", "sysrq-c"])
def test_crash_agrees_on_the_frames(crashes: Mapping[str, Path], debug: Path, trigger: str) -> None:
    answers = json.loads(kdumpd("analyze", crashes[trigger], "--debug", debug, "--with", "crash", "--json"))
    bt = next(answer["lines"] for answer in answers["answers"] if answer["title"] == "Crashed task")
    called = re.compile(r"^ *#\d+ \[\w+\] (\w+)|\[exception RIP: (\w+)")
    theirs = iter([found[1] or found[2] for line in bt if (found := called.search(line))])
    ours = functions(analyzed(crashes[trigger], "--debug", debug))
    assert len(ours) >= 6
    # crash unwinds without ORC: stale frames are between, a module's init and the entry have other names.
    assert all(name in theirs for name in ours if not name.endswith("_init") and name != "entry_SYSCALL_64")


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("kept", [0.95, 0.5, 0.1])
def test_a_sealed_dump_gives_what_it_has(
    crashes: Mapping[str, Path], debug: Path, tmp_path: Path, trigger: str, kept: float
) -> None:
    crash = read_folder(crashes[trigger])[0]
    dump = tmp_path / crash.files["dump"].path.name
    data = crash.files["dump"].path.read_bytes()
    dump.write_bytes(data[: int(len(data) * kept)])
    (tmp_path / crash.files["log"].path.name).write_bytes(crash.files["log"].path.read_bytes())
    assert "the dump is truncated: " in kdumpd("analyze", tmp_path, "--debug", debug, code=2)
    with dump.open("r+b") as file:
        kdumpfile.seal(file.fileno())
    shown = kdumpd("analyze", tmp_path, "--debug", debug)
    assert re.fullmatch(f"  at {LOCATIONS[trigger]}", shown.splitlines()[1])
    assert "Not to be had from this dump" in shown


def test_the_log_alone_gives_the_line_too(crashes: Mapping[str, Path], debug: Path) -> None:
    crash = read_folder(crashes["null-dereference"])[0]
    whole = analyzed(crashes["null-dereference"], "--debug", debug)
    log = crash.files["log"].path.rename(crashes["null-dereference"] / "dmesg.txt")
    try:
        alone = analyzed(log, "--debug", debug)
    finally:
        log.rename(crash.files["log"].path)
    assert alone["place"] == whole["place"]
    assert functions(alone) == functions(whole)


def test_kernel_debug_tar_is_unpacked_once_and_a_bundle_taken(
    crashes: Mapping[str, Path], debug: Path, tmp_path: Path
) -> None:
    archive, bundle, page = tmp_path / "kernel-debug.tar", tmp_path / "crash.tar.zst", tmp_path / "page.html"
    with tarfile.open(archive, "w", dereference=True) as tar:
        tar.add(debug, "linux-debug-6.1.192")
    kdumpd("export", crashes["null-dereference"], bundle)
    cache = tmp_path / "cache"
    kdumpd("analyze", bundle, "--debug", archive, "--html", page, cache=cache)
    started = time.monotonic()
    shown = kdumpd("analyze", bundle, "--debug", archive, cache=cache)
    assert time.monotonic() - started < TARGET_S
    assert shown.splitlines()[1] == f"  at {LOCATIONS['null-dereference']}"
    assert f">{LOCATIONS['null-dereference']}<" in page.read_text()


def test_the_shells_have_everything_loaded(crashes: Mapping[str, Path], debug: Path) -> None:
    for reader, question, answer in (
        ("drgn", "prog.crashed_thread().name\n", "'insmod'"),
        ("crash", "set\nquit\n", 'COMMAND: "insmod"'),
    ):
        arguments = ["analyze", crashes["null-dereference"], "--debug", debug, "--shell", "--with", reader]
        done = subprocess.run(
            [sys.executable, "-m", "kdumpd", *map(str, arguments)],
            input=question,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert answer in done.stdout


@attrs.frozen(kw_only=True)
class Answers:
    """What the readers make of a dump."""

    crash: list[str]
    log: bytes
    tasks: list[bytes]
    stacks: list[list[str]]
    crashed: bytes


def answers(dump: Path, debug: Path) -> Answers:
    program = drgn.Program()
    program.set_core_dump(dump)
    (vmlinux,) = debug.glob("vmlinux-*")
    program.load_debug_info([vmlinux])
    tasks = list(for_each_task(program))
    crashed = program.crashed_thread().object
    return Answers(
        crash=ask_crash(dump, vmlinux),
        log=get_dmesg(program),
        tasks=[task.comm.string_() for task in tasks],
        stacks=[[frame.name for frame in program.stack_trace(task)] for task in (*tasks, crashed)],
        crashed=crashed.comm.string_(),
    )


def ask_crash(dump: Path, vmlinux: Path) -> list[str]:
    """What crash(8) answers, without its warning that the dump is incomplete."""
    done = subprocess.run(
        ["crash", "-s", vmlinux, dump],
        input="bt\nps\nlog\nmod\nmount\nquit\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    _, _, after = done.stdout.rpartition("will return zero-filled memory.\n")
    return after.splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dump of the recorded machine that nothing cuts short."""
    path = tmp_path_factory.mktemp("whole") / "dump"
    command = ["makedumpfile", "-l", "-d", "31", str(vmcore(SUITE)), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def expected(whole: Path, debug: Path) -> Answers:
    return answers(whole, debug)


async def dump_that_ends(folder: Path, size_bytes: int) -> tuple[Path, Verdict]:
    """A dump of the recorded machine whose makedumpfile is gone after so many bytes."""
    program = folder / "makedumpfile"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in -v|*--dry-run*) exec makedumpfile "$@";; esac\n'
        f'makedumpfile "$@" | head --bytes={size_bytes}\n'
        "exit 1\n"
    )
    program.chmod(0o755)
    settings = DumpSettings(makedumpfile=str(program), compression="lzo")
    return folder / "dump", await capture_dump(folder / "dump", vmcore=str(vmcore(SUITE)), settings=settings)


@pytest.mark.parametrize("percent", [90, 50, 10])
async def test_a_dump_that_breaks_off_tells_what_the_whole_one_does(
    tmp_path: Path, whole: Path, expected: Answers, debug: Path, percent: int
) -> None:
    """Wherever KASLR had put the kernel."""
    dump, verdict = await dump_that_ends(tmp_path, whole.stat().st_size * percent // 100)
    assert verdict.state == "incomplete"
    assert verdict.added_pages > 0
    assert answers(dump, debug) == expected


async def dump_of_limited_size(path: Path, whole: Path, percent: int) -> Verdict:
    size_bytes = whole.stat().st_size * percent // 100
    settings = DumpSettings(max_bytes=size_bytes, compression="lzo")
    verdict = await capture_dump(path, vmcore=str(vmcore(SUITE)), settings=settings)
    assert verdict.why == f"size budget of {size_bytes} bytes ran out"
    assert path.stat().st_size <= size_bytes
    return verdict


@pytest.mark.parametrize("percent", [90, 50])
async def test_a_dump_of_limited_size_tells_what_the_whole_one_does(
    tmp_path: Path, whole: Path, expected: Answers, debug: Path, percent: int
) -> None:
    await dump_of_limited_size(tmp_path / "dump", whole, percent)
    assert answers(tmp_path / "dump", debug) == expected


async def test_a_dump_too_small_for_the_kernel_has_the_log(
    tmp_path: Path, whole: Path, expected: Answers, debug: Path
) -> None:
    """At 10 % the image alone takes more: crash can't start, and what drgn finds of tasks is chance."""
    verdict = await dump_of_limited_size(tmp_path / "dump", whole, 10)
    assert verdict.added_pages > 0
    program = drgn.Program()
    program.set_core_dump(tmp_path / "dump")
    program.load_debug_info(list(debug.glob("vmlinux-*")))
    assert get_dmesg(program) == expected.log


async def test_a_dump_that_breaks_off_has_no_page_that_the_whole_one_has_not(
    tmp_path: Path, whole: Path
) -> None:
    cut, _ = await dump_that_ends(tmp_path, whole.stat().st_size // 10)
    programs = []
    for dump in (whole, cut):
        programs.append(drgn.Program())
        programs[-1].set_core_dump(dump)
    kept = missing = 0
    for address in range(0, 2 << 30, 4096):
        pages = [read_page(program, address) for program in programs]
        kept += pages[1] is not None
        missing += pages[1] is None and pages[0] is not None
        assert pages[1] in (None, pages[0])
    assert kept > 10000
    assert missing > 10000


def read_page(program: drgn.Program, address: int) -> bytes | None:
    try:
        return bytes(program.read(address, 4096, physical=True))
    except drgn.FaultError:
        return None
