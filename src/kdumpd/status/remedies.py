"""Every finding of the status: its stable code, and the remedy."""

from typing import Final

RESERVATION: Final = "crashkernel=2G-16G:128M,16G-128G:256M,128G-:512M"

# Every reason why a machine is not armed, and its remedy.
REASONS: Final = {
    "architecture": "none: kdumpd collects dumps on x86_64 with kvm only",
    "capture-kernel": "let kdumpd finish and restart the machine",
    "no-kexec": "boot a kernel with CONFIG_KEXEC and CONFIG_CRASH_DUMP",
    "no-crashkernel": f"add {RESERVATION} in the boot loader, restart",
    "reservation-failed": "see `dmesg | grep -i crashkernel`; ask for a size that fits: crashkernel=128M",
    "load-failed": "mend the cause and restart: 000-kexec loads once per boot",
    "nothing-loaded": "have /etc/init.d/000-kexec run at boot; see `dmesg | grep kdumpd`",
    "unknown": "run `kdumpd status` as root, where /proc and /sys are mounted",
    "not-mounted": "mount persist; `dmesg` tells why its disk is missing",
    "wrong-filesystem": "mount a real persist there, or name the type in storage.filesystems",
    "read-only": "mount it read-write; a file system with errors turns read-only, see `dmesg`",
    "no-space": "free space there, or lower storage.min_free_bytes",
    "no-makedumpfile": "install makedumpfile, or set dump.makedumpfile to where it is",
}
# Every warning, and its remedy. A machine with warnings is armed all the same.
WARNINGS: Final = {
    "kexec-allowed": "have /etc/init.d/000-kexec run at boot: it forbids kexec after its own load",
    "nomodule": "leave nomodule out of KDUMPD_APPEND, and KDUMPD_MODULES at auto, in 000-kexec",
    "reservation-small": f"use {RESERVATION}",
    "little-space": "free space there: a dump that does not fit is cut short",
    "compression": "set dump.compression to one that is built in, or to auto",
    "freed-memory": "boot with init_on_free=1; what it costs is in docs/operating.md",
    "capture-missed": "see the console of that boot's end; `kdumpd drill` tries the whole way",
    "drill-failed": "mend the step that failed, then `kdumpd drill` again",
    "crashes-unknown": "run `kdumpd status` as root; it must be a folder",
}
