"""kdumpd: the kernel-dump collector for EVE-OS. These names are its public API, and no others.

A name is imported when it is first used: ``import kdumpd`` costs next to nothing, and a service loads only
the parts that it needs. ``kdumpd.testing`` has the simulated machine for tests.
"""

# The layout is flat: one noun per file, and docs/architecture.md is the map.

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdumpd.config import (
        BudgetSettings,
        Config,
        ConsoleSettings,
        CrashLoopSettings,
        DumpSettings,
        EncryptionSettings,
        ReasonsSettings,
        RebootSettings,
        RetentionSettings,
        StorageSettings,
        VmcoreSettings,
        WatchdogSettings,
        load_config,
        parse_config,
    )
    from kdumpd.crashes.inventory import Crash, find_crash
    from kdumpd.crashes.inventory import read_folder as read_crashes
    from kdumpd.crashes.record import CrashRecord, parse_record
    from kdumpd.dmesg.causes import Cause
    from kdumpd.dmesg.panic import Panic, find_panic
    from kdumpd.dump.capture import capture_dump
    from kdumpd.dump.copy import Seekable, place_stream
    from kdumpd.dump.makedumpfile import PageReport
    from kdumpd.dump.stream import Progress
    from kdumpd.dump.verdict import Verdict
    from kdumpd.errors import ConfigError, DumpError, FormatError, KdumpError, StorageError
    from kdumpd.host.commit import commit_file
    from kdumpd.host.folder import Folder, Space
    from kdumpd.host.linux import LinuxMachine
    from kdumpd.host.machine import Machine
    from kdumpd.host.mounts import Mount, find_mount, read_mounts
    from kdumpd.host.uevents import Partition, find_partition
    from kdumpd.run.finish import Finish, FinishContext, Outcome, describe_only, restart_machine
    from kdumpd.run.supervisor import supervise
    from kdumpd.status.assess import Status, read_status
    from kdumpd.storage.changes import Changes, device_changes, mount_changes
    from kdumpd.storage.gate import Storage, wait_for_storage
    from kdumpd.version import __version__

__all__ = [
    "BudgetSettings",
    "Cause",
    "Changes",
    "Config",
    "ConfigError",
    "ConsoleSettings",
    "Crash",
    "CrashLoopSettings",
    "CrashRecord",
    "DumpError",
    "DumpSettings",
    "EncryptionSettings",
    "Finish",
    "FinishContext",
    "Folder",
    "FormatError",
    "KdumpError",
    "LinuxMachine",
    "Machine",
    "Mount",
    "Outcome",
    "PageReport",
    "Panic",
    "Partition",
    "Progress",
    "ReasonsSettings",
    "RebootSettings",
    "RetentionSettings",
    "Seekable",
    "Space",
    "Status",
    "Storage",
    "StorageError",
    "StorageSettings",
    "Verdict",
    "VmcoreSettings",
    "WatchdogSettings",
    "__version__",
    "capture_dump",
    "commit_file",
    "describe_only",
    "device_changes",
    "find_crash",
    "find_mount",
    "find_panic",
    "find_partition",
    "load_config",
    "mount_changes",
    "parse_config",
    "parse_record",
    "place_stream",
    "read_crashes",
    "read_mounts",
    "read_status",
    "restart_machine",
    "supervise",
    "wait_for_storage",
]

# Where each name is defined: its module, and its name there if that is another one.
_HOMES = {
    "BudgetSettings": "config",
    "Cause": "dmesg.causes",
    "Changes": "storage.changes",
    "Config": "config",
    "ConfigError": "errors",
    "ConsoleSettings": "config",
    "Crash": "crashes.inventory",
    "CrashLoopSettings": "config",
    "CrashRecord": "crashes.record",
    "DumpError": "errors",
    "DumpSettings": "config",
    "EncryptionSettings": "config",
    "FinishContext": "run.finish",
    "Finish": "run.finish",
    "Folder": "host.folder",
    "FormatError": "errors",
    "KdumpError": "errors",
    "LinuxMachine": "host.linux",
    "Machine": "host.machine",
    "Mount": "host.mounts",
    "Outcome": "run.finish",
    "PageReport": "dump.makedumpfile",
    "Panic": "dmesg.panic",
    "Partition": "host.uevents",
    "Progress": "dump.stream",
    "ReasonsSettings": "config",
    "RebootSettings": "config",
    "RetentionSettings": "config",
    "Seekable": "dump.copy",
    "Space": "host.folder",
    "Status": "status.assess",
    "Storage": "storage.gate",
    "StorageError": "errors",
    "StorageSettings": "config",
    "Verdict": "dump.verdict",
    "VmcoreSettings": "config",
    "WatchdogSettings": "config",
    "__version__": "version",
    "capture_dump": "dump.capture",
    "commit_file": "host.commit",
    "describe_only": "run.finish",
    "device_changes": "storage.changes",
    "find_crash": "crashes.inventory",
    "find_mount": "host.mounts",
    "find_panic": "dmesg.panic",
    "find_partition": "host.uevents",
    "load_config": "config",
    "mount_changes": "storage.changes",
    "parse_config": "config",
    "parse_record": "crashes.record",
    "place_stream": "dump.copy",
    "read_crashes": "crashes.inventory:read_folder",
    "read_mounts": "host.mounts",
    "read_status": "status.assess",
    "restart_machine": "run.finish",
    "supervise": "run.supervisor",
    "wait_for_storage": "storage.gate",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kdumpd' has no attribute {name!r}")
    module, _, other_name = _HOMES[name].partition(":")
    value: object = getattr(import_module(f"kdumpd.{module}"), other_name or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
