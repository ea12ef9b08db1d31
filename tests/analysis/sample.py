"""A report with something in every section, and one in which next to nothing could be read."""

from typing import Any

import attrs
from tests.crashes.test_record import FULL

from kdumpd.analysis.findings import (
    FREE,
    Cache,
    Disk,
    Frame,
    Machine,
    Memory,
    Module,
    Mount,
    Part,
    Report,
    Request,
    Share,
    Stack,
    Task,
    Variable,
)

HOSTILE = "<script>alert('&amp;')</script>\"'"
LONG = "a_function_name_that_is_longer_than_any_telephone_is_wide_and_has_no_place_to_break_it" * 2

INSMOD = Task(
    pid=158, command="insmod", state="R", cpu=1, kernel_thread=False, rss_bytes=3485696, where="write"
)
BLOCKED = Task(pid=200, command="tar", state="D", cpu=0, kernel_thread=False, idle_s=190.4, where="do_fsync")
WORKER = Task(
    pid=7, command="kworker/0:0", state="I", cpu=0, kernel_thread=True, idle_s=7.7, where="worker_thread"
)

CRASHED = Stack(
    tasks=(INSMOD,),
    frames=(
        Frame(function="write_to_null", source="/usr/src/null_dereference.c:7", module="null_dereference"),
        Frame(
            function="do_one_initcall",
            source="init/main.c:1271",
            variables=(
                Variable(name="count", type="int", value="0"),
                Variable(name="name", type="char *", value=f'0xffff = "{HOSTILE}"'),
            ),
        ),
        Frame(function="do_syscall_x64", source="arch/x86/entry/common.c:46", inlined=True),
        Frame(function=LONG, source=f"drivers/{LONG}.c:1"),
    ),
)

MEMORY = Memory(
    total_bytes=2 << 30,
    free_bytes=1 << 30,
    shares=(
        Share(name="page cache", size_bytes=600 << 20),
        Share(name="processes (anonymous)", size_bytes=300 << 20),
        Share(name=FREE, size_bytes=1 << 30),
        Share(name="other kernel memory", size_bytes=124 << 20),
    ),
    caches=(Cache(name="dentry", object_bytes=192, used=10753, total=10815, size_bytes=2 << 20),),
    processes=(INSMOD,),
)

REPORT = Report(
    record=FULL,
    dump="incomplete (no progress for 60 s), 42.0 MiB: kdump-20261123T030740Z.dump",
    problems=("the record names a file which is not here",),
    place="/usr/src/null_dereference.c:7",
    tool="drgn 0.3.0",
    crashed=Part(found=CRASHED),
    running=Part(found=(Stack(tasks=(attrs.evolve(WORKER, pid=0, command="swapper/0"),), frames=()),)),
    blocked=Part(
        found=(Stack(tasks=(BLOCKED,) * 8, frames=(Frame(function="do_fsync", source="fs/sync.c:1"),)),),
        missing="after 8 this leads to memory that is not in the dump (0xffff)",
    ),
    tasks=Part(found=(WORKER, INSMOD, BLOCKED, *(attrs.evolve(WORKER, pid=1000 + n) for n in range(60)))),
    memory=Part(found=MEMORY),
    machine=Part(
        found=Machine(
            name=HOSTILE,
            version="6.1.0-56-cloud-amd64 #1 SMP",
            command_line="console=ttyS0 " + "very.long.option=" + "x" * 200,
            cpus=2,
            uptime_s=93784.5,
            load=(0.23, 0.05, 0.02),
            taint="GOE",
        )
    ),
    modules=Part(found=(Module(name="null_dereference", size_bytes=28672, taints="OE", symbols=True),)),
    mounts=Part(found=(Mount(source="/dev/sda9", target="/persist", type="ext4"),)),
    disks=Part(
        found=(
            Disk(
                name="sda",
                size_bytes=1 << 40,
                requests=(Request(operation="write", sector=2048, size_bytes=4096, age_s=61.2),),
            ),
        )
    ),
    log=(
        "[    0.000000] Linux version 6.1.0",
        f"[    1.000000] audit: {HOSTILE}",
        "[   10.173795] BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "[   10.174000] " + "x" * 900,
        "[   10.176779] CR2: 0000000000000000",
    ),
)

_GONE: Part[Any] = Part(found=None, missing="this leads to memory that is not in the dump (0xffff)")

BARE = attrs.evolve(
    REPORT,
    record=attrs.evolve(FULL, symbol=None, title=None, cause="unknown", phases=(), fingerprint=None),
    place=None,
    crashed=_GONE,
    running=_GONE,
    blocked=_GONE,
    tasks=_GONE,
    memory=_GONE,
    machine=_GONE,
    modules=_GONE,
    mounts=_GONE,
    disks=_GONE,
    log=(),
)
