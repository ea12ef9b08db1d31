"""The crash of a simulated machine: what its kernel left in memory."""

from typing import Final

CRASH_TIME_S: Final = 1795398039
"""When a simulated machine crashes unless told otherwise: 2026-11-23 01:40:39 UTC."""

DEFAULT_LOG: Final = b"""\
[    0.000000] Linux version 6.12.28-linuxkit (root@build) (gcc 14.2.0) #1 SMP PREEMPT_DYNAMIC
[    0.000000] Command line: console=ttyS0 crashkernel=128M
[   41.220311] edge_nic: loading out-of-tree module taints kernel.
[   73.004410] BUG: kernel NULL pointer dereference, address: 0000000000000048
[   73.004431] #PF: supervisor write access in kernel mode
[   73.004440] #PF: error_code(0x0002) - not-present page
[   73.004449] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI
[   73.004461] CPU: 1 UID: 0 PID: 512 Comm: nic-worker Tainted: G           O       6.12.28-linuxkit #1
[   73.004480] RIP: 0010:edge_nic_reset+0x1f/0x40 [edge_nic]
[   73.004493] Call Trace:
[   73.004499]  <TASK>
[   73.004505]  edge_nic_watchdog+0x8c/0xd0 [edge_nic]
[   73.004515]  process_one_work+0x174/0x330
[   73.004523]  worker_thread+0x255/0x3a0
[   73.004531]  kthread+0xd2/0x100
[   73.004538]  </TASK>
[   73.004543] Modules linked in: edge_nic(O)
[   73.004551] ---[ end trace 0000000000000000 ]---
[   73.004560] Kernel panic - not syncing: Fatal exception in interrupt
"""


def make_vmcoreinfo(
    *, release: str = "6.12.28-linuxkit", build_id: str = "5a" * 20, crash_time_s: int | None = CRASH_TIME_S
) -> bytes:
    """The VMCOREINFO note of a crashed kernel; without a crash time where that is None."""
    lines = [f"OSRELEASE={release}", f"BUILD-ID={build_id}", "PAGESIZE=4096"]
    lines += [] if crash_time_s is None else [f"CRASHTIME={crash_time_s}"]
    return "\n".join([*lines, ""]).encode()
