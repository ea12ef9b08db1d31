"""A scenario: how a machine is built, crashes and gets its storage back; and running one."""

import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from . import bundle, disk, image, makedumpfile, modules, squashfs
from .app import REPOSITORY, app
from .disk import PersistDisk
from .machine import BootEnd, Hardware, SerialLine, boot

MIB = 1 << 20
GIB = 1 << 30
GUEST = Path(__file__).parent / "guest"
# The first words of guest/init, and how long an emulated machine on a busy host may take to say them.
BEGIN = "vm: system kernel"
BEGIN_S = 45
BOOTS = 3
TRIGGERS = [file.name for file in (GUEST / "triggers").iterdir()]


@attrs.frozen(kw_only=True)
class Scenario:
    """One crash. Hooks are shell text by the name under which the guest's scripts look for it."""

    suite: str = "bookworm"
    memory_bytes: int = 2 * GIB
    crashkernel: str = "128M"
    trigger: str = "sysrq-c"
    command_line: str = ""
    panic_timeout: int = -1
    storage_delay_s: float = 5
    filesystem: str = "ext4"
    persist_bytes: int = 2 * GIB
    makedumpfile: str = ""  # the suite whose makedumpfile is at makedumpfile.PROGRAM
    config: str = ""
    without: tuple[str, ...] = ()  # capabilities that kdumpd's container does not have
    hooks: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    devices: tuple[str, ...] = ()
    limit_s: float = 240


@attrs.frozen(kw_only=True)
class Run:
    """What a scenario left: the console, how QEMU ended, the persist disk."""

    console: tuple[SerialLine, ...]
    ending: str
    persist: PersistDisk

    @property
    def text(self) -> str:
        """The console with host time stamps, as a person reads it."""
        return "\n".join(f"{line.time_s:7.2f} {line.text}" for line in self.console)

    def time_of(self, text: str) -> float:
        """When a line with this text first came, in seconds from power-on. Raises AssertionError."""
        for line in self.console:
            if text in line.text:
                return line.time_s
        raise AssertionError(f"no line with {text!r} on the console:\n{self.text}")


def crash(
    scenario: Scenario,
    folder: Path,
    *,
    persist: PersistDisk | None = None,
    write_log: Path | None = None,
    more_disks: Sequence[tuple[str, Path, bool]] = (),
    watch: Callable[[SerialLine], None] = lambda line: None,
) -> Run:
    """Run a scenario to its end; its files go into `folder`.

    With `persist` its disk is used as it is, else an empty one is made. With `write_log` every write and
    flush of it is recorded there, for `logwrites`. `more_disks` come as in `Hardware`.
    """
    built = app()
    guest = image.image(scenario.suite)
    if persist is None:
        persist = disk.make(
            folder / "persist.img", size_bytes=scenario.persist_bytes, filesystem=scenario.filesystem
        )
    hardware = Hardware(
        memory_bytes=scenario.memory_bytes,
        kernel=guest.kernel,
        initramfs=guest.initramfs,
        command_line=_command_line(scenario),
        devices=scenario.devices,
        write_log=write_log,
        disks=[
            ("root", guest.root, False),
            ("app", built.disk, False),
            ("scenario", _scenario_disk(scenario, built.archive, folder), False),
            ("persist", persist.path, True),
            *more_disks,
        ],
    )
    ending = _boot(hardware, scenario.limit_s, watch)
    return Run(console=ending.console, ending=ending.reason, persist=persist)


def _boot(hardware: Hardware, limit_s: float, watch: Callable[[SerialLine], None]) -> BootEnd:
    """Run a machine, and once more if it never came to the guest's own scripts.

    Now and then, two emulated processors on a busy host lose a timer while the kernel starts, and sleep for
    ever ("timer wakeup didn't happen"), or run into code that is being patched ("Oops: int3"). Nothing has
    been tested or written by then.
    """
    for _ in range(BOOTS):
        if hardware.write_log is not None:
            hardware.write_log.write_bytes(b"")
        ending = boot(hardware, begin=BEGIN, begin_s=BEGIN_S, limit_s=limit_s, watch=watch)
        if ending.reason != "stuck":
            break
    return ending


def _command_line(scenario: Scenario) -> str:
    words = ["console=ttyS0,115200", "loglevel=4", f"panic={scenario.panic_timeout}"]
    if scenario.crashkernel:
        words.append(f"crashkernel={scenario.crashkernel}")
    return " ".join([*words, scenario.command_line]).strip()


def _scenario_disk(scenario: Scenario, archive: Path, folder: Path) -> Path:
    """A disk with the guest's scripts and the scenario's settings, so that the root needs no rebuilding."""
    tree = folder / "scenario"
    shutil.copytree(GUEST, tree)
    (tree / "init").chmod(0o755)
    shutil.copy(REPOSITORY / "etc/init.d/000-kexec", tree)
    if modules.source(scenario.trigger).exists():
        shutil.copytree(modules.modules(scenario.suite), tree / "modules")
    binds = ["/scenario/kdumpd.toml:/etc/kdumpd.toml:ro"]
    if scenario.makedumpfile:
        shutil.copytree(makedumpfile.of(scenario.makedumpfile), tree / "makedumpfile")
        binds.append(f"/scenario/makedumpfile:{makedumpfile.MOUNTPOINT}:ro")
    (tree / "kdumpd.toml").write_text(scenario.config)
    config = bundle.config(archive, binds=binds, without=scenario.without)
    (tree / "config.json").write_text(json.dumps(config))
    settings = {
        "TRIGGER": scenario.trigger,
        "STORAGE_DELAY_S": scenario.storage_delay_s,
        "FILESYSTEM": scenario.filesystem,
    }
    (tree / "settings").write_text(
        "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in settings.items())
    )
    for name, text in scenario.hooks.items():
        (tree / name).write_text(text)
    return squashfs.pack(tree, folder / "scenario.squashfs")
