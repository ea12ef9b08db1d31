"""Is this machine armed, and if not why: judged from its facts alone.

Armed means that a crash now would leave a dump: a capture kernel is loaded, persist can take a dump, and
makedumpfile is there. What could not be read is unknown, not an error.
"""

from pathlib import Path
from typing import Final

from attrs import frozen

from kdumpd.config import Config
from kdumpd.dump.makedumpfile import FREE_PAGES, choose_compression
from kdumpd.host.mounts import Mount
from kdumpd.sources import values, words
from kdumpd.status.facts import LOAD_RESULT, Facts, gather
from kdumpd.status.files import Unknown
from kdumpd.status.remedies import REASONS, WARNINGS
from kdumpd.storage.volume import LEAST_DUMP_BYTES, find_fault, floor_bytes
from kdumpd.text import size

ARCHITECTURE: Final = "x86_64"
# `remedies.RESERVATION` in numbers, largest first: from this much memory on, this much should be reserved.
_ROWS: Final = ((128 << 30, 512 << 20), (16 << 30, 256 << 20), (2 << 30, 128 << 20))

# A dump at level 31 was 4.5 % of memory without compression (183 MB of 4 GiB): a sixteenth is enough.
_DUMP_SHARE: Final = 16


@frozen(kw_only=True)
class Finding:
    """One reason or warning: a stable code, what was found, and what to do about it."""

    code: str
    text: str
    remedy: str


@frozen(kw_only=True)
class Status:
    """The judgement on a machine, and the facts that it was made from."""

    reasons: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    facts: Facts

    @property
    def armed(self) -> bool:
        """Whether a crash now would leave a dump."""
        return not self.reasons


def assess(facts: Facts) -> Status:
    """Judge a machine from its facts."""
    # Of the steps to a loaded kernel only the first that failed is a reason: the others follow from it.
    steps = (_unsupported, _not_reserved, _not_loaded)
    kernel = next((finding for step in steps if (finding := step(facts))), None)
    reasons = [kernel, _storage_reason(facts), _space_reason(facts), _makedumpfile_reason(facts)]
    warnings = [
        _kexec_allowed(facts),
        _no_module(facts),
        _reservation_small(facts),
        _little_space(facts),
        _other_compression(facts),
        _freed_memory(facts),
        _capture_missed(facts),
        _drill_failed(facts),
        _crashes_unknown(facts),
    ]
    return Status(
        reasons=tuple(finding for finding in reasons if finding),
        warnings=tuple(finding for finding in warnings if finding),
        facts=facts,
    )


def read_status(config: Config, *, root: Path = Path("/")) -> Status:
    """Gather the facts of a machine and judge them. Blocking: it reads files and runs ``makedumpfile -v``.

    Args:
        config: the settings that a run would have.
        root: where the machine's root is seen.
    """
    return assess(gather(config, root=root))


def _reason(code: str, text: object) -> Finding:
    return Finding(code=code, text=str(text), remedy=REASONS[code])


def _warning(code: str, text: object) -> Finding:
    return Finding(code=code, text=str(text), remedy=WARNINGS[code])


def _unsupported(facts: Facts) -> Finding | None:
    if facts.architecture != ARCHITECTURE:
        return _reason("architecture", f"architecture {facts.architecture} is not supported")
    if facts.xen_guest_type in ("PV", "PVH"):
        return _reason("architecture", "Xen is not supported: the hypervisor owns kexec")
    if facts.in_capture_kernel:
        return _reason("capture-kernel", f"this is the capture kernel: {facts.config.vmcore.path} is there")
    if isinstance(facts.loaded, Unknown) and facts.loaded.absent:
        return _reason("no-kexec", f"this kernel cannot kexec: there is no {facts.loaded.source}")
    return None


def _not_reserved(facts: Facts) -> Finding | None:
    if facts.loaded is True:
        return None
    if isinstance(facts.command_line, Unknown):
        return _reason("unknown", facts.command_line)
    wanted = " ".join(word for word in words(facts.command_line) if word.startswith("crashkernel="))
    if not wanted:
        return _reason("no-crashkernel", "no crashkernel= on the kernel command line")
    if isinstance(facts.reserved_bytes, Unknown):
        return _reason("unknown", facts.reserved_bytes)
    if facts.reserved_bytes == 0:
        return _reason("reservation-failed", f"the kernel reserved no memory for {wanted}")
    return None


def _not_loaded(facts: Facts) -> Finding | None:
    if isinstance(facts.loaded, Unknown):
        return _reason("unknown", facts.loaded)
    if facts.loaded:
        return None
    if facts.load_result is None:
        return _reason(
            "nothing-loaded", f"no capture kernel is loaded: {LOAD_RESULT} has no result of this boot"
        )
    if facts.load_result.result == "loaded":
        return _reason("nothing-loaded", "no capture kernel is loaded: one was, and has been unloaded")
    return _reason("load-failed", f"the capture kernel was not loaded: {facts.load_result.cause}")


def _storage_reason(facts: Facts) -> Finding | None:
    if isinstance(facts.mount, Unknown):
        return _reason("unknown", facts.mount)
    fault = find_fault(facts.mount, facts.config.storage)
    return _reason(fault.code, fault.why) if fault else None


def room_bytes(facts: Facts) -> int | None:
    """The room for a dump on persist; None when no dump is wanted or it is not known."""
    settings = facts.config
    if isinstance(facts.space, Unknown) or not settings.dump.enabled or _storage_reason(facts):
        return None
    room = max(0, facts.space.free_bytes - floor_bytes(settings.storage, facts.space))
    return min(room, settings.dump.max_bytes) if settings.dump.max_bytes else room


def _space_reason(facts: Facts) -> Finding | None:
    if isinstance(facts.space, Unknown):
        return None if _storage_reason(facts) else _reason("unknown", facts.space)
    room = room_bytes(facts)
    if room is None or room >= LEAST_DUMP_BYTES:
        return None
    text = f"no room for a dump on {facts.config.storage.mountpoint}: {size(facts.space.free_bytes)} free"
    return _reason("no-space", text)


def _makedumpfile_reason(facts: Facts) -> Finding | None:
    if not isinstance(facts.makedumpfile, Unknown) or not facts.config.dump.enabled:
        return None
    return _reason("no-makedumpfile", f"{facts.makedumpfile.source} does not run: {facts.makedumpfile.why}")


def _kexec_allowed(facts: Facts) -> Finding | None:
    if facts.loaded is not True or facts.forbidden is True:
        return None
    if isinstance(facts.forbidden, Unknown):
        return _warning("kexec-allowed", facts.forbidden)
    return _warning("kexec-allowed", "further kexec is not forbidden: the capture kernel can be replaced")


def _no_module(facts: Facts) -> Finding | None:
    """A file system that is mounted and is a module is a loaded one; ext3 is mounted by ext4's."""
    if facts.load_result is None or not isinstance(facts.mount, Mount) or isinstance(facts.modules, Unknown):
        return None
    driver = {"ext3": "ext4"}.get(facts.mount.filesystem, facts.mount.filesystem)
    if driver not in facts.modules or not values(facts.load_result.command_line, "nomodule"):
        return None
    text = f"the capture kernel has nomodule, and {driver} of {facts.mount.mountpoint} is a module"
    return _warning("nomodule", text)


def _reservation_small(facts: Facts) -> Finding | None:
    if isinstance(facts.reserved_bytes, Unknown) or isinstance(facts.memory_bytes, Unknown):
        return None
    memory = facts.memory_bytes + facts.reserved_bytes
    fitting = next((size for least, size in _ROWS if memory >= least), 0)
    if not 0 < facts.reserved_bytes < fitting:
        return None
    text = f"{size(facts.reserved_bytes)} reserved, {size(fitting)} fits {size(memory)} of memory"
    return _warning("reservation-small", text)


def _little_space(facts: Facts) -> Finding | None:
    room = room_bytes(facts)
    if room is None or room < LEAST_DUMP_BYTES or isinstance(facts.memory_bytes, Unknown):
        return None
    if room >= facts.memory_bytes // _DUMP_SHARE:
        return None
    mountpoint = facts.config.storage.mountpoint
    return _warning("little-space", f"room for only {size(room)} of dump on {mountpoint}")


def _other_compression(facts: Facts) -> Finding | None:
    if isinstance(facts.makedumpfile, Unknown) or not facts.config.dump.enabled:
        return None
    _, warning = choose_compression(facts.config.dump.compression, facts.makedumpfile)
    return _warning("compression", warning) if warning else None


def _freed_memory(facts: Facts) -> Finding | None:
    """Recently freed pages are on the kernel's per-CPU lists, which no makedumpfile recognises."""
    wanted = facts.config.dump.enabled and facts.config.dump.level & FREE_PAGES
    if not wanted or _unsupported(facts):
        return None
    clears = _clears_freed_memory(facts)
    if isinstance(clears, Unknown):
        return _warning("freed-memory", f"a dump may hold freed memory that was not cleared: {clears}")
    return None if clears else _warning("freed-memory", "a dump may hold freed memory, which is not cleared")


def _clears_freed_memory(facts: Facts) -> bool | Unknown:
    if isinstance(facts.command_line, Unknown):
        return facts.command_line
    said = values(facts.command_line, "init_on_free")
    if not said:
        return facts.init_on_free_default
    # Of several the last counts, and these are yes to the kernel (lib/kstrtox.c, kstrtobool()).
    return said[-1].lower().startswith(("1", "y", "t", "on"))


def _capture_missed(facts: Facts) -> Finding | None:
    if facts.boot is None or not facts.boot.capture_missed:
        return None
    text = "the boot before this one was armed and ended without a word: a power cut, or a lost crash"
    return _warning("capture-missed", text)


def _drill_failed(facts: Facts) -> Finding | None:
    if facts.drill is None or facts.drill.passed:
        return None
    return _warning("drill-failed", f"the last drill failed: {facts.drill.step}: {facts.drill.text}")


def _crashes_unknown(facts: Facts) -> Finding | None:
    return _warning("crashes-unknown", facts.last_crash) if isinstance(facts.last_crash, Unknown) else None
