"""Debug symbols: found wherever they are given, and never those of another kernel."""

import io
import lzma
import os
import stat
import tarfile
from pathlib import Path

import attrs
import pytest
import zstandard
from tests import makedump
from tests.analysis import makeelf
from tests.analysis.makeelf import AARCH64, BUILD_ID

from kdumpd.analysis.progress import Progress
from kdumpd.analysis.symbols import Kernel, Symbols, find_symbols
from kdumpd.crashes.record import CrashRecord
from kdumpd.dump.kdumpfile import Header
from kdumpd.errors import ConfigError, FormatError, KdumpError

OTHER_ID = "ab" * 20
# makedump's VMCOREINFO has SYMBOL(init_uts_ns)=ffffffffa33f9b60 and KERNELOFFSET=20800000.
LINKED = {"init_uts_ns": 0xFFFFFFFF82BF9B60, "swapper_pg_dir": 0xFFFFFFFF82A10000}
TREE = "linux-debug-6.12.49"

KERNEL = Kernel(machine="x86_64", release="6.12.49-linuxkit", build_id=BUILD_ID, addresses=LINKED)
WITHOUT_ID = attrs.evolve(KERNEL, build_id=None)
FROM_LOG = Kernel(machine=None, release="6.12.49-linuxkit", build_id=None, addresses={})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/kdumpd/symbols"


def find(path: Path, kernel: Kernel = KERNEL) -> Symbols:
    return find_symbols(path, kernel, Progress(io.StringIO()))


def refused(path: Path, why: str, kernel: Kernel = KERNEL) -> None:
    with pytest.raises(KdumpError, match=why) as caught:
        find(path, kernel)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_the_kernel_is_read_from_a_dump() -> None:
    header = Header(
        version=6,
        nodename="edge",
        release="6.12.49-linuxkit",
        machine="x86_64",
        status=1,
        block_bytes=4096,
        sub_header_blocks=1,
        bitmap_blocks=2,
        max_mapnr=10,
        dump_level=31,
        vmcoreinfo=makedump.VMCOREINFO,
    )
    assert Kernel.of_dump(header) == KERNEL
    zeros = makedump.VMCOREINFO.replace(BUILD_ID.encode(), b"0" * 40)
    assert Kernel.of_dump(attrs.evolve(header, vmcoreinfo=zeros)) == WITHOUT_ID
    garbage = makedump.VMCOREINFO.replace(b"KERNELOFFSET=20800000", b"KERNELOFFSET=zebra")
    assert Kernel.of_dump(attrs.evolve(header, vmcoreinfo=garbage)).addresses == {}
    with pytest.raises(FormatError):
        Kernel.of_dump(attrs.evolve(header, vmcoreinfo=b""))


def test_a_vmlinux_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "my-kernel"
    path.write_bytes(makeelf.kernel())
    assert find(path) == Symbols(vmlinux=path, root=path, machine="x86_64")
    assert list(find(path).of_module("virtio")) == []


def test_a_folder_is_searched_for_the_right_one(tmp_path: Path) -> None:
    for name, build_id in (("old", OTHER_ID), ("new", BUILD_ID)):
        path = tmp_path / f"usr/lib/debug/boot/vmlinux-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(makeelf.kernel(build_id))
    (tmp_path / "vmlinux.lds").write_text("no ELF file")
    assert find(tmp_path).vmlinux.name == "vmlinux-new"


def test_a_folder_by_build_ids_is_searched(tmp_path: Path) -> None:
    path = tmp_path / f".build-id/{BUILD_ID[:2]}/{BUILD_ID[2:]}.debug"
    path.parent.mkdir(parents=True)
    path.write_bytes(makeelf.kernel())
    assert find(tmp_path).vmlinux == path


def test_modules_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(makeelf.kernel())
    (tmp_path / "kernel/fs").mkdir(parents=True)
    names = ("virtio-blk.ko", "virtio_blk.ko.debug", "virtio.ko", "kernel/fs/virtio_blk.ko")
    for name in names:
        (tmp_path / name).write_bytes(makeelf.module())
    found = [str(path.relative_to(tmp_path)) for path in find(tmp_path).of_module("virtio_blk")]
    assert found == ["kernel/fs/virtio_blk.ko", "virtio-blk.ko", "virtio_blk.ko.debug"]


def compress(path: Path, how: str) -> Path:
    data = path.read_bytes()
    packed = {
        "tar": data,
        "tar.xz": lzma.compress(data),
        "tar.zst": zstandard.ZstdCompressor().compress(data),
    }
    target = path.with_name(f"kernel-debug.{how}")
    target.write_bytes(packed[how])
    return target


@pytest.mark.parametrize("how", ["tar", "tar.xz", "tar.zst"])
def test_an_archive_is_unpacked_once(tmp_path: Path, cache: Path, how: str) -> None:
    split = f"{TREE}/kernel/panic.dwo"
    files = {f"{TREE}/vmlinux": makeelf.kernel(), split: b"dwo", f"{TREE}/README": b"not wanted"}
    path = compress(archive(tmp_path / "made", files), how)
    found = find(path)
    assert found.vmlinux == found.root / TREE / "vmlinux"
    assert (found.root / split).read_bytes() == b"dwo"
    assert not (found.root / TREE / "README").exists()
    (entry,) = cache.iterdir()
    before = entry.stat().st_ino
    assert find(path) == found
    assert [e.stat().st_ino for e in cache.iterdir()] == [before]


def test_a_changed_archive_is_unpacked_anew(tmp_path: Path) -> None:
    path = archive(tmp_path / "kernel-debug.tar", {"vmlinux": makeelf.kernel()})
    find(path)
    archive(path, {"vmlinux": makeelf.kernel(OTHER_ID)})
    os.utime(path, (1, 1))
    refused(path, "these symbols have build id")


def test_the_four_that_were_used_last_are_kept(tmp_path: Path, cache: Path) -> None:
    paths = [archive(tmp_path / f"{number}.tar", {"vmlinux": makeelf.kernel()}) for number in range(5)]
    roots = [find(path).root for path in paths[:4]]
    (cache / ".of-a-killed-run").mkdir()
    for age_s, folder in enumerate([cache / ".of-a-killed-run", *reversed(roots)]):
        os.utime(folder, (1000 - age_s, 1000 - age_s))
    assert find(paths[0]).root == roots[0]
    roots.append(find(paths[4]).root)
    assert sorted(cache.iterdir()) == sorted([cache / ".of-a-killed-run", roots[0], roots[3], roots[4]])
    assert find(paths[1]).vmlinux.exists()


def test_a_wrong_vmlinux_is_named_with_both_ids(tmp_path: Path, cache: Path) -> None:
    why = f"these symbols have build id {OTHER_ID}, the kernel that crashed has {BUILD_ID}"
    path = tmp_path / "vmlinux"
    path.write_bytes(makeelf.kernel(OTHER_ID))
    refused(path, why)
    refused(tmp_path, why)
    refused(archive(tmp_path / "debug.tar", {"vmlinux": makeelf.kernel(OTHER_ID)}), why)
    assert list(cache.iterdir()) == []


def test_another_architecture_is_said(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(makeelf.kernel(OTHER_ID, machine=AARCH64))
    refused(path, "these symbols are of aarch64, the dump is of x86_64")


def test_what_has_no_vmlinux_is_said(tmp_path: Path) -> None:
    refused(archive(tmp_path / "debug.tar", {"README": b"text"}), "there is no vmlinux in it")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "there is no vmlinux in it")
    (tmp_path / "text").write_text("text")
    refused(tmp_path / "text", "neither a vmlinux, nor a folder or an archive with one")
    refused(tmp_path / "missing", "no such file or folder")


def test_a_damaged_vmlinux_is_said(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(makeelf.kernel()[:100])
    refused(tmp_path / "vmlinux", "vmlinux is damaged: ELF file that ends")
    cut = {"vmlinux": makeelf.kernel()[:100]}
    refused(archive(tmp_path / "debug.tar", cut), "vmlinux: ELF file that ends")


@pytest.mark.parametrize("name", ["../evil/vmlinux", "/tmp/evil/vmlinux", "a/../../vmlinux"])
@pytest.mark.parametrize("first", [True, False])
def test_an_archive_that_climbs_out_is_refused(tmp_path: Path, cache: Path, name: str, first: bool) -> None:
    names = [name, "vmlinux"] if first else ["vmlinux", name]
    path = archive(tmp_path / "debug.tar", {n: makeelf.kernel() for n in names})
    refused(path, "leads out of the folder")
    assert list(cache.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "debug.tar"]


def test_a_link_in_an_archive_is_left_out(tmp_path: Path) -> None:
    path = archive(tmp_path / "debug.tar", {"vmlinux": makeelf.kernel()})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("evil.ko")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert [p.name for p in find(path).root.iterdir()] == ["vmlinux"]


def test_without_a_build_id_the_addresses_decide(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(makeelf.kernel(None, symbols=LINKED))
    assert find(path, WITHOUT_ID).vmlinux == path
    assert find(path, KERNEL).vmlinux == path
    path.write_bytes(makeelf.kernel(None, symbols=LINKED | {"swapper_pg_dir": 0xFFFFFFFF82A20000}))
    refused(path, "do not fit 6.12.49-linuxkit: swapper_pg_dir is elsewhere", WITHOUT_ID)
    path.write_bytes(makeelf.kernel(None))
    refused(path, "they have none of the dump's symbols", WITHOUT_ID)


def test_for_a_log_alone_the_release_decides(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(makeelf.kernel(text=b"\0Linux version 6.12.49-linuxkit (root@build) #1\0"))
    assert find(path, FROM_LOG).vmlinux == path
    path.write_bytes(makeelf.kernel(text=b"\0Linux version 6.12.5-linuxkit (root@build) #1\0"))
    refused(path, "these symbols do not name 6.12.49-linuxkit", FROM_LOG)


def test_a_record_tells_its_kernel() -> None:
    record = attrs.evolve(_record(), release="6.12.49-linuxkit", build_id=BUILD_ID)
    assert Kernel.of_record(record) == attrs.evolve(FROM_LOG, build_id=BUILD_ID)


def _record() -> CrashRecord:
    from tests.crashes.test_record import BARE  # noqa: PLC0415 a record without anything

    return BARE


def test_unreadable_symbols_are_said(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match="no such file"):
        find(loop)


def test_the_cache_is_private_enough(tmp_path: Path, cache: Path) -> None:
    find(archive(tmp_path / "debug.tar", {"vmlinux": makeelf.kernel()}))
    assert not stat.S_IMODE(cache.stat().st_mode) & stat.S_IWOTH
