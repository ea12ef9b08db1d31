"""Every way in which the machine around a run can fail: consoles, signals, memory, device events."""

import contextlib
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from .crash import FaultRun, Running
from .netlink import uevent_sockets
from .volume import MIB, command

pytestmark = pytest.mark.system

fault = pytest.mark.fault


# Consoles. Each run has a second one, a file, on which everything must appear in time.


def add_console(crash: FaultRun, path: Path | str) -> None:
    crash.configure("console", targets=[str(path), str(crash.console)])


@fault("a console is missing", "`console.targets` names no file")
def test_console_missing(crash: FaultRun) -> None:
    crash.mount()
    add_console(crash, "/nonexistent/console")
    assert crash.run().code == 0
    crash.assert_collected("dump")


@fault("a console is a folder", "`console.targets` names one")
def test_console_folder(crash: FaultRun) -> None:
    crash.mount()
    add_console(crash, crash.meeting)
    crash.run()
    crash.assert_collected("dump")


@fault("a console is full", "/dev/full")
def test_console_full(crash: FaultRun) -> None:
    crash.mount()
    add_console(crash, "/dev/full")
    crash.run()
    crash.assert_collected("dump")


@fault("no console at all", "the only one is missing")
def test_no_console(crash: FaultRun) -> None:
    crash.mount()
    crash.configure("console", targets=["/nonexistent/console"])
    ran = crash.run()
    assert ran.code == 0
    assert crash.reason == crash.line(None, kept="dump")
    crash.assert_true()


@fault("a console blocks", "a FIFO whose reader does not read, and that is full")
def test_console_blocks(crash: FaultRun) -> None:
    crash.mount()
    fifo = crash.folder / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    add_console(crash, fifo)
    ran = crash.run()
    os.close(writer)
    os.close(reader)
    assert ran.code == 0
    crash.assert_collected("dump")


@fault("a console has no reader", "a FIFO that nobody reads")
def test_console_without_a_reader(crash: FaultRun) -> None:
    crash.mount()
    os.mkfifo(crash.folder / "fifo")
    add_console(crash, crash.folder / "fifo")
    crash.run()
    crash.assert_collected("dump")


@fault("a terminal is stopped", "a pseudo terminal with its output stopped, as by Ctrl-S")
def test_terminal_stopped(crash: FaultRun) -> None:
    crash.mount()
    leader, follower = pty.openpty()
    subprocess.run(["stty", "-F", os.ttyname(follower), "raw"], check=True)
    os.set_blocking(follower, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(follower, bytes(1024))
    add_console(crash, os.ttyname(follower))
    ran = crash.run()
    os.close(leader)
    os.close(follower)
    assert ran.code == 0
    crash.assert_collected("dump")


@fault("a terminal gives EIO", "a pseudo terminal whose other end is closed")
def test_terminal_eio(crash: FaultRun) -> None:
    crash.mount()
    leader, follower = pty.openpty()
    name = os.ttyname(follower)
    os.close(leader)
    add_console(crash, name)
    crash.run()
    os.close(follower)
    crash.assert_collected("dump")


# Signals.


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, marks=fault("SIGTERM in the middle", "after 24 MiB")),
        pytest.param(signal.SIGINT, marks=fault("SIGINT in the middle", "after 24 MiB")),
    ],
)
def test_signal_in_the_middle(crash: FaultRun, number: int) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    running.process.send_signal(number)
    crash.finish(running)
    crash.assert_collected("part", "interrupted")


@fault("SIGTERM while waiting for storage", "in the second second of the wait")
def test_signal_while_waiting(crash: FaultRun) -> None:
    running = crash.start()
    running.wait_for_line("is not mounted")
    running.process.send_signal(signal.SIGTERM)
    ran = crash.finish(running)
    assert ran.code == 1
    assert "kdumpd: kernel panic, nothing collected: interrupted" in ran.console


@fault("SIGTERM again and again", "every 20 ms from the middle to the end")
def test_signals_again_and_again(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    while not running.over:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    crash.finish(running)
    crash.assert_collected("part", "interrupted")


@fault("SIGHUP in the middle", "after 24 MiB, as from a terminal that is gone")
def test_hangup_in_the_middle(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("pause_in_the_middle")
    running = crash.start_to_the_middle()
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    crash.go_on()
    crash.finish(running)
    crash.assert_collected("dump")


# Resources.


@pytest.fixture
def memory_cgroup(crash: FaultRun) -> Iterator[Path]:
    """A memory cgroup that the run starts in, without a limit yet."""
    group = Path("/sys/fs/cgroup/memory", f"kdumpd-{os.getpid()}")
    group.mkdir()
    crash.wrapper = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
    yield group
    crash.cleanup()
    while (group / "cgroup.procs").read_text():
        time.sleep(0.05)
    group.rmdir()


@fault("the OOM killer acts", "makedumpfile eats memory in a cgroup of 120 MiB")
def test_oom(crash: FaultRun, memory_cgroup: Path) -> None:
    crash.mount()
    (memory_cgroup / "memory.limit_in_bytes").write_text(str(120 * MIB))
    crash.stand_in("eats_memory")
    crash.run()
    crash.assert_collected("part", "makedumpfile was killed by signal 9")


@fault("little memory (no fault)", "a whole run in a cgroup of 64 MiB, page cache included")
def test_little_memory(crash: FaultRun, memory_cgroup: Path) -> None:
    crash.mount()
    (memory_cgroup / "memory.limit_in_bytes").write_text(str(64 * MIB))
    crash.run(within_s=25)
    crash.assert_collected("dump")
    assert "oom_kill 0" in (memory_cgroup / "memory.oom_control").read_text()


@fault("few file descriptors", "`ulimit -n 24`")
def test_few_descriptors(crash: FaultRun) -> None:
    crash.mount()
    crash.wrapper = ["sh", "-c", 'ulimit -n 24; exec "$@"', "sh"]
    crash.run()
    crash.assert_collected("dump")


@fault("standard streams are closed", "started with descriptors 0, 1 and 2 closed")
def test_closed_streams(crash: FaultRun) -> None:
    crash.mount()
    crash.wrapper = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    crash.run()
    crash.assert_collected("dump")


@fault("a small limit of file sizes", "`ulimit -f`: 20 MiB")
def test_file_size_limit(crash: FaultRun) -> None:
    crash.mount()
    crash.wrapper = ["sh", "-c", 'ulimit -f 40960; exec "$@"', "sh"]
    crash.run()
    crash.assert_collected("part", "writing the dump failed: File too large")


# Device events.


@attrs.frozen(kw_only=True)
class Udevd:
    """A udevd with a /run, /dev and network namespace of its own."""

    process: subprocess.Popen[bytes]

    @property
    def beside(self) -> list[str]:
        """What to put in front of a command so that it runs there."""
        return ["nsenter", "--target", str(self.process.pid), "--mount", "--net"]


@pytest.fixture
def udevd() -> Iterator[Udevd]:
    setup = (
        "mount -t tmpfs run /run && mkdir /run/dev && cp -a /dev/null /dev/loop* /run/dev &&"
        "mount --bind /run/dev /dev && echo there && exec /lib/systemd/systemd-udevd 2>/dev/null"
    )
    unshare = ["unshare", "--mount", "--net", "sh", "-c", setup]
    with subprocess.Popen(unshare, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        made = Udevd(process=process)
        command(*made.beside, "sh", "-c", "until udevadm control --ping 2>/dev/null; do sleep 0.05; done")
        yield made
        process.kill()


def no_udevd(*hidden: str) -> list[str]:
    """What to put in front of a run so that there is no udevd, nor any file of these."""
    cover = "for file in $0; do mount --bind /dev/null $(realpath $file) || exit; done"
    setup = f'mount -t tmpfs run /run; {cover}; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", setup, " ".join(hidden)]


def start_without_storage(crash: FaultRun, wrapper: list[str], source: str) -> Running:
    """Start a run that is to see storage appear later, and wait until it listens to this source."""
    crash.mount()
    crash.volume.unmount()
    crash.wrapper = wrapper
    crash.configure("storage", wait_s=40)
    running = crash.start()
    running.wait_for_line(f"(device events: {source})")
    running.wait_for_line("is not mounted")
    return running


def mount_where_it_runs(crash: FaultRun, running: Running) -> None:
    inside = ["nsenter", "--target", str(running.process.pid), "--mount"]
    command(*inside, "mount", crash.volume.device, crash.persist)


def overrun(crash: FaultRun, running: Running) -> None:
    """Stop a run, and let it lose device events; it must open another socket when it goes on."""
    pid = running.process.pid
    (before,) = uevent_sockets(pid)
    running.process.send_signal(signal.SIGSTOP)
    event = Path("/sys/block", Path(crash.volume.device).name, "uevent")
    for _ in range(1000):
        event.write_text("change")
    running.wait_for(lambda: uevent_sockets(pid)[before].lost > 0)
    running.process.send_signal(signal.SIGCONT)
    running.wait_for(lambda: bool(uevent_sockets(pid)) and before not in uevent_sockets(pid))


@fault("events of udevd overrun", "stopped by SIGSTOP while 1000 events come; then storage appears")
def test_overrun_of_udevd(crash: FaultRun, udevd: Udevd) -> None:
    running = start_without_storage(crash, udevd.beside, "udev")
    overrun(crash, running)
    mount_where_it_runs(crash, running)
    crash.finish(running, within_s=30)
    crash.volume.mount()
    crash.assert_collected("dump")


@pytest.mark.parametrize(
    ("source", "hidden"),
    [
        pytest.param("kernel", [], marks=fault("events of the kernel overrun", "the same without udevd")),
        pytest.param(
            "netlink",
            ["/usr/lib/*/libudev.so.1"],
            marks=fault("events of a plain socket overrun", "the same without udevd and libudev"),
        ),
    ],
    ids=["kernel", "netlink"],
)
def test_overrun(crash: FaultRun, source: str, hidden: list[str]) -> None:
    running = start_without_storage(crash, no_udevd(*hidden), source)
    overrun(crash, running)
    mount_where_it_runs(crash, running)
    crash.finish(running, within_s=30)
    crash.volume.mount()
    crash.assert_collected("dump")


@fault("udevd died", "its control socket is there, and no event ever comes")
def test_udevd_died(crash: FaultRun) -> None:
    setup = 'mount -t tmpfs run /run && mkdir /run/udev && touch /run/udev/control && exec "$@"'
    running = start_without_storage(crash, ["unshare", "--mount", "sh", "-c", setup, "sh"], "udev")
    mount_where_it_runs(crash, running)
    crash.finish(running)
    crash.volume.mount()
    crash.assert_collected("dump")


@fault("udevd dies while a run waits", "SIGKILL to a real one that it listens to; then storage appears")
def test_udevd_dies(crash: FaultRun, udevd: Udevd) -> None:
    running = start_without_storage(crash, udevd.beside, "udev")
    udevd.process.kill()
    udevd.process.wait()
    mount_where_it_runs(crash, running)
    crash.finish(running)
    crash.volume.mount()
    crash.assert_collected("dump")


# Around it.


@fault("the panic timeout is unreadable", "`reboot.panic_timeout` names no file")
def test_panic_timeout_unreadable(crash: FaultRun) -> None:
    crash.mount()
    crash.configure("reboot", panic_timeout="/nonexistent/panic")
    ran = crash.run()
    crash.assert_collected("dump")
    assert "restart at once by sysrq (/nonexistent/panic cannot be read)" in ran.console


@fault("the panic timeout is no number", "`reboot.panic_timeout` names a file with other text")
def test_panic_timeout_is_no_number(crash: FaultRun) -> None:
    crash.mount()
    (crash.folder / "panic").write_bytes(b"soon\xff\n" * 100)
    crash.configure("reboot", panic_timeout=str(crash.folder / "panic"))
    ran = crash.run()
    crash.assert_collected("dump")
    assert f"restart at once by sysrq ({crash.folder}/panic cannot be read)" in ran.console


@fault("the watchdog cannot be opened", "`watchdog.device` names a folder")
def test_watchdog_folder(crash: FaultRun) -> None:
    crash.mount()
    crash.configure("watchdog", device=str(crash.meeting))
    ran = crash.run()
    crash.assert_collected("dump")
    assert "cannot be opened (Is a directory): going on without it" in ran.console


@fault("the total budget runs out", "makedumpfile stops after 24 MiB; `budget.total_s` is 3")
def test_total_budget(crash: FaultRun) -> None:
    crash.mount()
    crash.stand_in("stops")
    crash.configure("budget", total_s=3, grace_s=4)
    crash.run()
    crash.assert_collected("part", "total budget of 3 s ran out")
    assert crash.record()["budgets_spent"] == ["total"]
