"""Machines as their status sees them: an armed one, and some with every kind of trouble."""

from typing import Any

import attrs

from kdumpd.config import Config, DumpSettings, StorageSettings
from kdumpd.dump.makedumpfile import Capabilities
from kdumpd.host.folder import Space
from kdumpd.host.mounts import Mount
from kdumpd.status.assess import Status, assess
from kdumpd.status.facts import Facts, LoadResult
from kdumpd.status.files import Unknown
from kdumpd.status.lastcrash import LastCrash

MIB = 1 << 20
GIB = 1 << 30
DENIED = "unknown, needs root"

PERSIST = Mount(
    mount_id=30,
    parent_id=1,
    device="253:9",
    root="/",
    mountpoint="/persist",
    options=frozenset({"rw"}),
    filesystem="ext4",
    source="/dev/sda9",
    super_options=frozenset({"rw"}),
)
LOADED = LoadResult(
    result="loaded",
    cause="",
    kernel="/boot/kernel",
    command_line="root=/dev/sda2 nr_cpus=1",
    modules="on: zfs is a module of this kernel",
)
CRASH = LastCrash(
    stamp="20261123T014039Z",
    files=("crash-20261123T014039Z.json", "dmesg-20261123T014039Z.log", "kdump-20261123T014039Z.dump"),
    reason="kernel panic, kdump collected: /persist/kcrashes/kdump-20261123T014039Z.dump",
    cause="sysrq",
    title="sysrq: Trigger a crash",
    dump_state="complete",
)
ARMED = Facts(
    config=Config(),
    architecture="x86_64",
    xen_guest_type=None,
    in_capture_kernel=False,
    command_line="root=/dev/sda2 crashkernel=2G-16G:128M,16G-128G:256M,128G-:512M init_on_free=1 quiet",
    init_on_free_default=False,
    modules=frozenset({"zfs", "spl"}),
    memory_bytes=4 * GIB - 128 * MIB,
    reserved_bytes=128 * MIB,
    loaded=True,
    forbidden=True,
    load_result=LOADED,
    mount=PERSIST,
    space=Space(free_bytes=20 * GIB, total_bytes=50 * GIB),
    makedumpfile=Capabilities(version="1.7.8", compressions=frozenset({"zlib", "none", "lzo", "zstd"})),
    last_crash=None,
    reboot_reason=None,
)
# Nothing is loaded: the facts that the steps to a loaded kernel are told apart by.
UNLOADED = attrs.evolve(ARMED, loaded=False, load_result=None)
FAILED = LoadResult(
    result="failed", cause="kernel file /boot/kernel is missing", kernel="/boot/kernel", command_line="a"
)
EVERYTHING_UNKNOWN = Facts(
    config=Config(),
    architecture="x86_64",
    xen_guest_type=None,
    in_capture_kernel=False,
    command_line=Unknown(source="/proc/cmdline", why=DENIED),
    init_on_free_default=Unknown(source="/proc/config.gz", why=DENIED),
    modules=Unknown(source="/proc/modules", why=DENIED),
    memory_bytes=Unknown(source="/proc/meminfo", why=DENIED),
    reserved_bytes=Unknown(source="/sys/kernel/kexec_crash_size", why=DENIED),
    loaded=Unknown(source="/sys/kernel/kexec_crash_loaded", why=DENIED),
    forbidden=Unknown(source="/proc/sys/kernel/kexec_load_disabled", why=DENIED),
    load_result=None,
    mount=Unknown(source="/proc/self/mountinfo", why=DENIED),
    space=Unknown(source="/persist", why=DENIED),
    makedumpfile=Unknown(source="makedumpfile", why="it hangs"),
    last_crash=Unknown(source="/persist/kcrashes", why=DENIED),
    reboot_reason=None,
)
MANY_WARNINGS = attrs.evolve(
    ARMED,
    config=Config(dump=DumpSettings(compression="zstd")),
    command_line="quiet",
    forbidden=False,
    reserved_bytes=64 * MIB,
    space=Space(free_bytes=5 * GIB, total_bytes=50 * GIB),
    memory_bytes=64 * GIB,
    makedumpfile=Capabilities(version="1.7.2", compressions=frozenset({"zlib", "none", "lzo"})),
    last_crash=Unknown(source="/persist/kcrashes", why=DENIED),
)
SAMPLES = {
    "armed": ARMED,
    "crashed": attrs.evolve(ARMED, last_crash=CRASH, reboot_reason=CRASH.reason),
    "unloaded": UNLOADED,
    "failed": attrs.evolve(UNLOADED, load_result=FAILED, mount=None, space=Unknown(source="/", why="x")),
    "unknown": EVERYTHING_UNKNOWN,
    "warned": MANY_WARNINGS,
    # More and longer findings than a screen has lines, above rows that are full as well.
    "worst": attrs.evolve(
        MANY_WARNINGS,
        loaded=Unknown(source="/sys/" + "long path " * 20, why=DENIED),
        space=Space(free_bytes=MIB, total_bytes=50 * GIB),
        config=Config(storage=StorageSettings(mountpoint="/" + "long path " * 20)),
        makedumpfile=Unknown(source="/" + "long path " * 20, why="it hangs"),
        last_crash=attrs.evolve(CRASH, title="BUG: " + "x" * 300, reason="kernel panic, " + "why " * 100),
        reboot_reason="nuclear power plant " * 50,
    ),
}


def with_facts(facts: Facts = ARMED, /, **changes: Any) -> Status:
    return assess(attrs.evolve(facts, **changes))
