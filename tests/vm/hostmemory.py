"""Whether this machine gives a guest the RAM that it is to have, which may be more than there is.

QEMU reserves none of it (`reserve=off` is MAP_NORESERVE), so only what a guest touches is taken. The kernel
allows that unless vm.overcommit_memory is 2 (Documentation/mm/overcommit-accounting.rst).
"""

from pathlib import Path

import attrs

GIB = 1 << 30
STRICT = 2


class MemoryRefusedError(Exception):
    """The guest's RAM is more than this machine would give; the text says what to do."""


@attrs.frozen(kw_only=True)
class HostMemory:
    """What the kernel says of memory: how it overcommits, and sizes of /proc/meminfo in bytes."""

    overcommit: int
    sizes: dict[str, int]

    @classmethod
    def of(cls, proc: Path = Path("/proc")) -> "HostMemory":
        """Read it."""
        lines = (proc / "meminfo").read_text().splitlines()
        sizes = {
            name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)
        }
        return cls(overcommit=int((proc / "sys/vm/overcommit_memory").read_text()), sizes=sizes)

    def word_on(self, guest_bytes: int) -> str:
        """What to say before a guest with so much RAM starts; empty where there is enough.

        Raises:
            MemoryRefusedError: the kernel would refuse it.
        """
        total_bytes = self.sizes["MemTotal"]
        has = f"{guest_bytes / GIB:.0f} GiB of RAM on a machine with {total_bytes / GIB:.0f} GiB"
        left_bytes = self.sizes["CommitLimit"] - self.sizes["Committed_AS"]
        if self.overcommit == STRICT and guest_bytes > left_bytes:
            raise MemoryRefusedError(
                f"{has}: vm.overcommit_memory is 2, and the kernel promises no more than it has. "
                "Give less --memory, or type `sysctl vm.overcommit_memory=0` first"
            )
        if guest_bytes <= total_bytes:
            return ""
        return f"{has}: vm.overcommit_memory is {self.overcommit}, so only what the guest touches is taken"
