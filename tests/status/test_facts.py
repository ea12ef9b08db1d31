"""What a machine says of itself: gathered from a folder that stands for one."""

import gzip
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from tests.machines import ARMED, CRASH, DENIED, MIB

from kdumpd.config import Config, DumpSettings, parse_config
from kdumpd.dump.makedumpfile import Capabilities
from kdumpd.host.folder import Space
from kdumpd.host.mounts import Mount
from kdumpd.status import facts as facts_module
from kdumpd.status.assess import assess
from kdumpd.status.facts import Facts, LoadResult, gather
from kdumpd.status.files import Unknown
from kdumpd.status.lastcrash import LastCrash
from kdumpd.status.report import render

PROJECT = Path(__file__).parents[2]

MOUNTINFO = "1 0 253:1 / / rw - squashfs /dev/root ro\n30 1 253:9 / /persist rw,noatime - ext4 /dev/sda9 rw\n"
VERSION = (
    "makedumpfile: version 1.7.2 (released on 16 Nov 2022)\nlzo\tenabled\nsnappy\tdisabled\nzstd\tdisabled\n"
)
BOOT = "5e0d5a6c-0000-4000-8000-000000000000"
LOAD = f"""result=loaded
cause=
kernel=/boot/kernel
initrd=
command_line=root=/dev/sda2 a=b irqpoll
modules=off: no file system of persist is a module of this kernel
boot={BOOT}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


def furnish(root: Path) -> None:
    """Put down the files of an armed machine."""
    files: dict[str, str | bytes] = {
        "proc/cmdline": "root=/dev/sda2 crashkernel=128M\n",
        "proc/config.gz": gzip.compress(b"CONFIG_INIT_ON_FREE_DEFAULT_ON=y\n"),
        "proc/modules": "zfs 4829184 6 - Live 0x0000000000000000 (PO)\nspl 1 1 zfs, Live 0x0 (O)\n",
        "proc/meminfo": "MemTotal:        4000000 kB\nMemFree:  1 kB\n",
        "proc/self/mountinfo": MOUNTINFO,
        "proc/sys/kernel/kexec_load_disabled": "1\n",
        "proc/sys/kernel/random/boot_id": BOOT + "\n",
        "sys/kernel/kexec_crash_size": "134217728\n",
        "sys/kernel/kexec_crash_loaded": "1\n",
        "run/kdumpd/load": LOAD,
    }
    for name, text in files.items():
        put(root, name, text)
    (root / "persist").mkdir()


def put(root: Path, name: str, text: str | bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)


def program(root: Path, body: str) -> str:
    put(root, "makedumpfile", f"#!/bin/sh\n{body}\n")
    (root / "makedumpfile").chmod(0o755)
    return str(root / "makedumpfile")


def facts_of(root: Path, body: str = f"printf '{VERSION}' >&2") -> Facts:
    return gather(Config(dump=DumpSettings(makedumpfile=program(root, body))), root=root)


def test_gathers_the_facts_of_an_armed_machine(root: Path) -> None:
    facts = facts_of(root)
    room = os.statvfs(root)
    assert attrs.evolve(facts, config=Config(), space=Space(free_bytes=0, total_bytes=0)) == Facts(
        config=Config(),
        architecture=os.uname().machine,
        xen_guest_type=None,
        in_capture_kernel=False,
        command_line="root=/dev/sda2 crashkernel=128M",
        init_on_free_default=True,
        modules=frozenset({"zfs", "spl"}),
        memory_bytes=4_000_000 << 10,
        reserved_bytes=128 * MIB,
        loaded=True,
        forbidden=True,
        load_result=LoadResult(
            result="loaded",
            cause="",
            kernel="/boot/kernel",
            command_line="root=/dev/sda2 a=b irqpoll",
            modules="off: no file system of persist is a module of this kernel",
        ),
        mount=facts.mount,
        space=Space(free_bytes=0, total_bytes=0),
        makedumpfile=Capabilities(version="1.7.2", compressions=frozenset({"zlib", "none", "lzo"})),
        last_crash=None,
        reboot_reason=None,
    )
    assert isinstance(facts.mount, Mount)
    assert (facts.mount.filesystem, facts.mount.mountpoint) == ("ext4", "/persist")
    assert isinstance(facts.space, Space)
    assert facts.space.total_bytes == room.f_blocks * room.f_frsize


def test_gathering_writes_nothing(root: Path) -> None:
    body = f"printf '{VERSION}'"
    program(root, body)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    gather(Config(dump=DumpSettings(makedumpfile=str(root / "makedumpfile"))), root=root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_empty_machine_is_unknown_and_not_an_error(tmp_path: Path) -> None:
    facts = gather(Config(dump=DumpSettings(makedumpfile="no-such-makedumpfile")), root=tmp_path)
    absent = {
        "command_line": "/proc/cmdline",
        "modules": "/proc/modules",
        "memory_bytes": "/proc/meminfo",
        "reserved_bytes": "/sys/kernel/kexec_crash_size",
        "loaded": "/sys/kernel/kexec_crash_loaded",
        "forbidden": "/proc/sys/kernel/kexec_load_disabled",
        "space": "/persist",
        "makedumpfile": "no-such-makedumpfile",
    }
    assert {name: getattr(facts, name) for name in absent} == {
        name: Unknown(source=source, why="not there") for name, source in absent.items()
    }
    assert isinstance(facts.mount, Unknown)
    assert (facts.load_result, facts.last_crash, facts.reboot_reason) == (None, None, None)
    judged = assess(attrs.evolve(facts, architecture="x86_64"))
    assert [reason.code for reason in judged.reasons] == ["no-kexec", "unknown", "no-makedumpfile"]
    assert len(render(judged).splitlines()) <= 23


@pytest.mark.parametrize(
    ("file", "text", "fact"),
    [
        ("sys/kernel/kexec_crash_size", "many", "reserved_bytes"),
        ("sys/kernel/kexec_crash_loaded", "", "loaded"),
        ("proc/meminfo", "MemFree: 1 kB\n", "memory_bytes"),
        ("proc/meminfo", "MemTotal: lots kB\n", "memory_bytes"),
        ("proc/self/mountinfo", "not a mount table\n", "mount"),
    ],
)
def test_nonsense_is_unknown(root: Path, file: str, text: str, fact: str) -> None:
    put(root, file, text)
    assert isinstance(getattr(facts_of(root), fact), Unknown)


BOOT_CONFIG = f"boot/config-{os.uname().release}"
WITH, WITHOUT = b"a\nCONFIG_INIT_ON_FREE_DEFAULT_ON=y\n", b"a\n# CONFIG_INIT_ON_FREE_DEFAULT_ON is not set\n"


@pytest.mark.parametrize(("text", "default"), [(WITH, True), (WITHOUT, False), (b"", False)])
@pytest.mark.parametrize("file", ["proc/config.gz", BOOT_CONFIG])
def test_kernels_configuration_tells_whether_it_clears_freed_memory(
    root: Path, file: str, text: bytes, default: bool
) -> None:
    (root / "proc/config.gz").unlink()
    put(root, file, gzip.compress(text) if file.endswith(".gz") else text)
    assert facts_of(root).init_on_free_default is default


@pytest.mark.parametrize("packed", [None, b"no gzip file"])
def test_kernel_without_a_configuration(root: Path, packed: bytes | None) -> None:
    (root / "proc/config.gz").unlink()
    if packed:
        put(root, "proc/config.gz", packed)
    assert facts_of(root).init_on_free_default == Unknown(
        source=f"/proc/config.gz and /{BOOT_CONFIG}", why="neither can be read"
    )


def test_xen_and_the_capture_kernel_are_recognised(root: Path) -> None:
    put(root, "sys/hypervisor/guest_type", "PV\n")
    put(root, "proc/vmcore", "")
    facts = facts_of(root)
    assert (facts.xen_guest_type, facts.in_capture_kernel) == ("PV", True)


@pytest.mark.parametrize(
    "text", [LOAD.replace(BOOT, "another boot"), "boot=" + BOOT, "result=loaded\n", "", "="]
)
def test_load_result_that_does_not_count(root: Path, text: str) -> None:
    put(root, "run/kdumpd/load", text)
    assert facts_of(root).load_result is None


def test_load_result_needs_to_know_this_boot(root: Path) -> None:
    put(root, "proc/sys/kernel/random/boot_id", "")
    put(root, "run/kdumpd/load", "result=loaded\nboot=\n")
    assert facts_of(root).load_result is None


def test_load_result_of_the_init_script_is_understood(root: Path) -> None:
    put(root, "sys/kernel/kexec_crash_loaded", "0\n")
    put(root, "proc/sys/kernel/kexec_load_disabled", "0\n")
    paths = {
        "ARCHITECTURE": "x86_64",
        "KERNEL": "/no/such/kernel",
        "CMDLINE": root / "proc/cmdline",
        "VMCORE": root / "proc/vmcore",
        "CRASH_SIZE": root / "sys/kernel/kexec_crash_size",
        "CRASH_LOADED": root / "sys/kernel/kexec_crash_loaded",
        "LOAD_DISABLED": root / "proc/sys/kernel/kexec_load_disabled",
        "XEN_GUEST_TYPE": root / "none",
        "BOOT_ID": root / "proc/sys/kernel/random/boot_id",
        "KMSG": root / "kmsg",
        "STATE_DIR": root / "run/kdumpd",
    }
    settings = {f"KDUMPD_{name}": str(path) for name, path in paths.items()}
    (root / "run/kdumpd/load").unlink()
    subprocess.run(
        [PROJECT / "etc/init.d/000-kexec"], env={"PATH": os.defpath} | settings, check=True, timeout=20
    )
    judged = assess(attrs.evolve(facts_of(root), architecture="x86_64"))
    assert "the capture kernel was not loaded: kernel file /no/such/kernel is missing" in [
        reason.text for reason in judged.reasons
    ]
    assert judged.facts.forbidden is True


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo something else", "the program is not makedumpfile: it prints no version"),
        ("exit 1", "the program is not makedumpfile: it prints no version"),
    ],
)
def test_makedumpfile_that_is_none(root: Path, body: str, why: str) -> None:
    makedumpfile = facts_of(root, body).makedumpfile
    assert isinstance(makedumpfile, Unknown)
    assert makedumpfile.why == why


def test_makedumpfile_that_may_not_be_run(root: Path) -> None:
    put(root, "makedumpfile", "no program")
    facts = gather(Config(dump=DumpSettings(makedumpfile=str(root / "makedumpfile"))), root=root)
    assert facts.makedumpfile == Unknown(source=str(root / "makedumpfile"), why=DENIED)


def test_makedumpfile_that_hangs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "_VERSION_S", 0.05)
    makedumpfile = facts_of(root, "exec sleep 20").makedumpfile
    assert isinstance(makedumpfile, Unknown)
    assert makedumpfile.why == "it hangs"


def test_reboot_reason_that_eve_has_not_read(root: Path) -> None:
    put(root, "persist/reboot-reason", f"{CRASH.reason}\n")
    assert facts_of(root).reboot_reason == CRASH.reason
    put(root, "persist/reboot-reason", "")
    assert facts_of(root).reboot_reason is None


def test_settings_name_the_places(root: Path) -> None:
    text = '[storage]\nmountpoint = "/data"\n[dump]\ndirectory = "c"\n[reasons]\ndirectory = "/why"\n'
    put(root, "data/c/dmesg-20261124T000000Z.log", "")
    put(root, "why/reboot-reason", "because")
    facts = gather(parse_config(text), root=root)
    assert facts.mount is None
    assert isinstance(facts.last_crash, LastCrash)
    assert facts.reboot_reason == "because"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run without root's rights, if the test has them."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_without_root_what_cannot_be_read_is_unknown() -> None:
    # Not tmp_path, which only its owner may enter.
    with TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        furnish(root)
        put(root, "persist/kcrashes/dmesg-20261123T014039Z.log", "")
        locked = [root / "sys/kernel/kexec_crash_loaded", root / "persist/kcrashes"]
        for path in locked:
            path.chmod(0)
        with unprivileged():
            facts = gather(Config(), root=root)
        for path in locked:
            path.chmod(0o700)
    assert facts.loaded == Unknown(source="/sys/kernel/kexec_crash_loaded", why=DENIED)
    assert facts.last_crash == Unknown(source="/persist/kcrashes", why=DENIED)
    judged = assess(
        attrs.evolve(facts, architecture="x86_64", makedumpfile=ARMED.makedumpfile, space=ARMED.space)
    )
    assert [reason.text for reason in judged.reasons] == [f"/sys/kernel/kexec_crash_loaded: {DENIED}"]
    assert [warning.text for warning in judged.warnings] == [f"/persist/kcrashes: {DENIED}"]
