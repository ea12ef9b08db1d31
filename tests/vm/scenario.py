"""A scenario: how a machine is built, crashes and gets its storage back; and running one."""

import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from . import disk, image
from .disk import PersistDisk
from .machine import Hardware, Line, boot

MIB = 1 << 20
GIB = 1 << 30


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
    config: str = ""
    hooks: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    devices: tuple[str, ...] = ()
    limit_s: float = 120


@attrs.frozen(kw_only=True)
class Run:
    """What a scenario left: the console, how QEMU ended, the persist disk."""

    console: tuple[Line, ...]
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


def crash(scenario: Scenario, folder: Path, *, watch: Callable[[Line], None] = lambda line: None) -> Run:
    """Run a scenario to its end; its files go into `folder`."""
    guest = image.image(scenario.suite)
    persist = disk.make(
        folder / "persist.img", size_bytes=scenario.persist_bytes, filesystem=scenario.filesystem
    )
    hardware = Hardware(
        memory_bytes=scenario.memory_bytes,
        kernel=guest.kernel,
        initramfs=guest.initramfs,
        command_line=_command_line(scenario),
        devices=scenario.devices,
        disks=[
            ("root", guest.root, False),
            ("app", image.app(scenario.suite), False),
            ("scenario", _scenario_disk(scenario, folder), False),
            ("persist", persist.path, True),
        ],
    )
    ending = boot(hardware, limit_s=scenario.limit_s, watch=watch)
    return Run(console=ending.console, ending=ending.reason, persist=persist)


def _command_line(scenario: Scenario) -> str:
    words = ["console=ttyS0,115200", "loglevel=4", f"panic={scenario.panic_timeout}"]
    if scenario.crashkernel:
        words.append(f"crashkernel={scenario.crashkernel}")
    return " ".join([*words, scenario.command_line]).strip()


def _scenario_disk(scenario: Scenario, folder: Path) -> Path:
    """A disk with the guest's scripts and the scenario's settings, so that the root needs no rebuilding."""
    tree = folder / "scenario"
    shutil.copytree(image.GUEST, tree)
    (tree / "init").chmod(0o755)
    (tree / "kdumpd.toml").write_text(scenario.config)
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
    image.squash(tree, folder / "scenario.squashfs")
    return folder / "scenario.squashfs"
