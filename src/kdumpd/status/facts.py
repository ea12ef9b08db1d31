"""The facts about a machine that decide whether it is armed. They are read here, and judged in `assess`."""

import os
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from kdumpd.config import Config
from kdumpd.dump.makedumpfile import Capabilities, parse_version, version_argv
from kdumpd.errors import KdumpError
from kdumpd.host.folder import Space
from kdumpd.host.mounts import MOUNTINFO, Mount, MountTableError, find_mount, read_mounts
from kdumpd.status.boots import BOOT_ID, Boot, read_boot
from kdumpd.status.drill import DrillResult, judge, read_drill
from kdumpd.status.files import MachineFiles, Unknown, unknown
from kdumpd.status.lastcrash import Collected, LastCrash, count_files, find_crashes

# Left by etc/init.d/000-kexec, which describes its lines.
LOAD_RESULT: Final = "/run/kdumpd/load"

_VERSION_S: Final = 10.0

# A kernel's configuration is some 300 KB of text.
_CONFIG_BYTES: Final = 4 << 20

# A line for each module that is loaded, some 60 bytes.
_MODULES_BYTES: Final = 1 << 20


@frozen(kw_only=True)
class LoadResult:
    """What ``000-kexec`` recorded about its run in this boot.

    Attributes:
        result: ``loaded``, ``not-wanted`` or ``failed``.
        cause: why it is not ``loaded``.
        kernel: path of the capture kernel's file.
        command_line: the capture kernel's command line; empty if there was none to make.
        modules: whether the capture kernel may load modules, ``on`` or ``off``, and why.
    """

    result: str
    cause: str
    kernel: str
    command_line: str
    modules: str = ""


@frozen(kw_only=True)
class Facts:
    """The facts about a machine; sizes in bytes.

    Attributes:
        config: the settings that the facts are judged by.
        architecture: as ``uname -m`` says.
        xen_guest_type: under Xen; with ``PV`` and ``PVH`` the hypervisor owns kexec.
        in_capture_kernel: whether there is a vmcore.
        command_line: of the running kernel.
        init_on_free_default: whether it clears freed memory where its command line does not say.
        modules: the names of those that are loaded.
        memory_bytes: what the kernel manages, without the reservation.
        reserved_bytes: for the capture kernel.
        loaded: whether a capture kernel is loaded.
        forbidden: whether any further kexec is forbidden.
        load_result: what ``000-kexec`` said, if it ran in this boot.
        mount: what is mounted on persist's mount point.
        space: the room on it.
        makedumpfile: its version and compressions.
        last_crash: the newest in the crash folder.
        collected: what the crash folder holds, by kind; empty if it cannot be read.
        boot: what ``kdumpd run`` noted of this boot, if it ran.
        drill: how the last drill ended, if there was one.
        reboot_reason: the line that EVE has not read yet, if there is one.
    """

    config: Config
    architecture: str
    xen_guest_type: str | None
    in_capture_kernel: bool
    command_line: str | Unknown
    init_on_free_default: bool | Unknown
    modules: frozenset[str] | Unknown
    memory_bytes: int | Unknown
    reserved_bytes: int | Unknown
    loaded: bool | Unknown
    forbidden: bool | Unknown
    load_result: LoadResult | None
    mount: Mount | Unknown | None
    space: Space | Unknown
    makedumpfile: Capabilities | Unknown
    last_crash: LastCrash | Unknown | None
    reboot_reason: str | None
    collected: Mapping[str, Collected] = field(factory=dict)
    boot: Boot | None = None
    drill: DrillResult | None = None


def gather(config: Config, *, root: Path = Path("/")) -> Facts:
    """Read the facts of the machine whose files are under ``root``; makedumpfile is always that of this host.

    What cannot be read is an `Unknown`; nothing is raised.
    """
    machine, mountpoint = MachineFiles(root), config.storage.mountpoint
    folder = f"{mountpoint}/{config.dump.directory}"
    crashes = find_crashes(machine, folder)
    boot_id = machine.text_or_none(BOOT_ID)
    noted = read_boot(machine, folder)
    drill = read_drill(machine, folder)
    found = () if isinstance(crashes, Unknown) else crashes
    return Facts(
        config=config,
        architecture=os.uname().machine,
        xen_guest_type=machine.text_or_none("/sys/hypervisor/guest_type"),
        in_capture_kernel=machine.path(config.vmcore.path).exists(),
        command_line=machine.text("/proc/cmdline"),
        init_on_free_default=_init_on_free_default(machine),
        modules=_modules(machine),
        memory_bytes=_memory_bytes(machine),
        reserved_bytes=machine.number("/sys/kernel/kexec_crash_size"),
        loaded=machine.flag("/sys/kernel/kexec_crash_loaded"),
        forbidden=machine.flag("/proc/sys/kernel/kexec_load_disabled"),
        load_result=_load_result(machine),
        mount=_mount(machine, mountpoint),
        space=machine.space(mountpoint),
        makedumpfile=_makedumpfile(config.dump.makedumpfile),
        last_crash=crashes if isinstance(crashes, Unknown) else next(iter(crashes), None),
        reboot_reason=machine.text_or_none(f"{config.reasons_directory}/reboot-reason") or None,
        collected=count_files(machine, folder),
        boot=noted if noted and noted.boot == boot_id else None,
        drill=judge(drill, boot=boot_id, crashes=found, config=config) if drill else None,
    )


def _init_on_free_default(machine: MachineFiles) -> bool | Unknown:
    """Read it from the kernel's configuration; the boot message about it needs root and is lost in time."""
    path = f"/boot/config-{os.uname().release}"
    packed = machine.data("/proc/config.gz", _CONFIG_BYTES)
    text = machine.data(path, _CONFIG_BYTES) if isinstance(packed, Unknown) else _unpack(packed)
    if text is None or isinstance(text, Unknown):
        return Unknown(source=f"/proc/config.gz and {path}", why="neither can be read")
    return b"CONFIG_INIT_ON_FREE_DEFAULT_ON=y" in text.splitlines()


def _unpack(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(data, _CONFIG_BYTES)
    except zlib.error:
        return None


def _modules(machine: MachineFiles) -> frozenset[str] | Unknown:
    data = machine.data("/proc/modules", _MODULES_BYTES)
    if isinstance(data, Unknown):
        return data
    return frozenset(line.split(b" ", 1)[0].decode("ascii", "replace") for line in data.splitlines())


def _memory_bytes(machine: MachineFiles) -> int | Unknown:
    text = machine.text("/proc/meminfo")
    if isinstance(text, Unknown):
        return text
    total = [line.split()[1] for line in text.splitlines() if line.startswith("MemTotal: ")]
    if not total or not total[0].isdecimal():
        return Unknown(source="/proc/meminfo", why="it has no MemTotal")
    return int(total[0]) << 10


def _load_result(machine: MachineFiles) -> LoadResult | None:
    text = machine.text_or_none(LOAD_RESULT) or ""
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    boot = machine.text_or_none(BOOT_ID)
    if "result" not in said or not boot or said.get("boot") != boot:
        return None
    return LoadResult(
        result=said["result"],
        cause=said.get("cause", ""),
        kernel=said.get("kernel", ""),
        command_line=said.get("command_line", ""),
        modules=said.get("modules", ""),
    )


def _mount(machine: MachineFiles, mountpoint: str) -> Mount | Unknown | None:
    try:
        return find_mount(read_mounts(str(machine.path(MOUNTINFO))), mountpoint)
    except MountTableError as error:
        return find_mount(error.others, mountpoint) or Unknown(source=MOUNTINFO, why=str(error))
    except KdumpError as error:
        return Unknown(source=MOUNTINFO, why=str(error))


def _makedumpfile(program: str) -> Capabilities | Unknown:
    try:
        done = subprocess.run(
            version_argv(program),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_VERSION_S,
            check=False,
        )
        return parse_version(done.stdout + done.stderr)
    except OSError as error:
        return unknown(program, error)
    except subprocess.TimeoutExpired:
        return Unknown(source=program, why="it hangs")
    except KdumpError as error:
        return Unknown(source=program, why=str(error))
