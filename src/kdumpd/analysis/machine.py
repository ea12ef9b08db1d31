"""The machine when it crashed: kernel, modules, mounts, block devices."""

from itertools import islice
from typing import Final

import drgn
from drgn.helpers.linux.block import (
    blk_rq_bytes,
    blk_rq_pos,
    disk_name,
    for_each_disk,
    req_op,
    request_queue_busy_iter,
)
from drgn.helpers.linux.cpumask import num_online_cpus
from drgn.helpers.linux.fs import for_each_mount, mount_dst, mount_fstype, mount_src
from drgn.helpers.linux.module import for_each_module, module_address_regions, module_taints
from drgn.helpers.linux.panic import tainted
from drgn.helpers.linux.sched import loadavg
from drgn.helpers.linux.timekeeping import ktime_get_coarse_ns, uptime

from kdumpd.analysis.core import Core
from kdumpd.analysis.findings import Disk, Machine, Module, Mount, Part, Request
from kdumpd.analysis.gather import part, parts, text

# Linux counts sectors of 512 bytes, whatever the device's own are (include/linux/blk_types.h).
_SECTOR_BYTES: Final = 512
_MOST_REQUESTS: Final = 10_000


def read(core: Core) -> Machine:
    """Read name, kernel version, command line, load and taint."""
    program = core.program
    names = program["init_uts_ns"].name
    return Machine(
        name=text(names.nodename.string_()),
        version=f"{text(names.release.string_())} {text(names.version.string_())}",
        command_line=text(program["saved_command_line"].string_()),
        cpus=int(num_online_cpus(program)),
        uptime_s=round(float(uptime(program)), 1),
        load=tuple(round(value, 2) for value in loadavg(program)),
        taint=tainted(program).replace(" ", ""),
    )


def modules(core: Core) -> Part[tuple[Module, ...]]:
    """The loaded modules, the last one loaded first."""
    return parts(lambda: for_each_module(core.program), lambda module: _module(core, module))


def _module(core: Core, module: drgn.Object) -> Module:
    name = text(module.name.string_())
    return Module(
        name=name,
        size_bytes=sum(size for _, size in module_address_regions(module)),
        taints=module_taints(module),
        symbols=name in core.with_symbols,
    )


def mounts(core: Core) -> Part[tuple[Mount, ...]]:
    """What was mounted."""
    return parts(lambda: for_each_mount(core.program), _mount)


def _mount(mount: drgn.Object) -> Mount:
    return Mount(source=text(mount_src(mount)), target=text(mount_dst(mount)), type=text(mount_fstype(mount)))


def disks(core: Core) -> Part[tuple[Disk, ...]]:
    """Block devices with their requests in flight."""
    now_ns = part(lambda: ktime_get_coarse_ns(core.program).value_()).found
    return parts(lambda: for_each_disk(core.program), lambda disk: _disk(disk, now_ns))


def _disk(disk: drgn.Object, now_ns: int | None) -> Disk:
    requests = islice(request_queue_busy_iter(disk.queue), _MOST_REQUESTS)
    return Disk(
        name=text(disk_name(disk)),
        size_bytes=disk.part0.bd_nr_sectors.value_() * _SECTOR_BYTES,
        requests=tuple(_request(request, now_ns) for request in requests),
    )


def _request(request: drgn.Object, now_ns: int | None) -> Request:
    started_ns = request.start_time_ns.value_()
    return Request(
        operation=req_op(request).format_(type_name=False).removeprefix("REQ_OP_").lower(),
        sector=blk_rq_pos(request).value_(),
        size_bytes=blk_rq_bytes(request).value_(),
        age_s=round((now_ns - started_ns) / 1e9, 3) if now_ns and started_ns else None,
    )
