"""What EVE would run: kdumpd out of its image, started by runc as etc/linuxkit/build.yml says."""

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.terminal import at_terminal

from .app import REPOSITORY, app
from .bundle import image_settings
from .command import run as run_program
from .scenario import MIB, Run, Scenario

pytestmark = pytest.mark.vm

# EVE's order: storage-init is done when the next onboot container starts.
STORAGE_FIRST = """
while ! mountpoint -q /persist; do sleep 0.1; done
"""
# Prints each new low of what a program could still have without swapping (proc(5), MemAvailable).
SAMPLER = """
(
    lowest=1000000000
    while :; do
        while read -r name available _; do
            if [ "$name" = MemAvailable: ] && [ "$available" -lt "$lowest" ]; then
                lowest=$available
                echo "vm: at least $lowest kB available"
            fi
        done < /proc/meminfo
        sleep 0.05
    done
) &
"""
LEAST_AVAILABLE_KB = 15 << 10
# What asks, with nobody there to answer, waits for ever.
BUILD_S = 480
MOST_BYTES = 25 * MIB
COLLECTED = "kdumpd: kernel panic, kdump collected: /persist/kcrashes/kdump-"


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_image_collects_in_128_mib_with_room_to_spare(
    crashed: Callable[[Scenario], Run], suite: str
) -> None:
    scenario = Scenario(suite=suite, hooks={"collect": STORAGE_FIRST + SAMPLER}, storage_delay_s=0)
    run = crashed(scenario)
    assert run.ending == "guest-reset", run.text
    assert run.time_of(COLLECTED), run.text
    assert not run.persist.fault()
    available_kb = [int(number) for number in re.findall(r"vm: at least (\d+) kB", run.text)]
    print(f"{suite}: {min(available_kb)} kB of {available_kb[0]} kB available at the lowest point")
    assert min(available_kb) >= LEAST_AVAILABLE_KB


def test_without_sys_admin_the_dump_is_kept_and_the_capability_named(
    crashed: Callable[[Scenario], Run],
) -> None:
    run = crashed(Scenario(without=("CAP_SYS_ADMIN",), storage_delay_s=0))
    assert run.ending == "guest-reset", run.text
    assert run.time_of(COLLECTED) < run.time_of(
        "/persist cannot be made read-only: Operation not permitted (it takes CAP_SYS_ADMIN)"
    )


def test_without_sys_boot_and_sysrq_the_capability_is_named(crashed: Callable[[Scenario], Run]) -> None:
    no_sysrq = "mount --bind /dev/null /proc/sysrq-trigger\n"
    run = crashed(Scenario(without=("CAP_SYS_BOOT",), hooks={"collect": no_sysrq}, storage_delay_s=0))
    assert run.time_of(
        "the restart failed: /proc/sysrq-trigger had no effect; reboot(2): Operation not permitted"
    )
    assert run.time_of("(it takes CAP_SYS_BOOT)")


def test_with_its_capabilities_reboot_works_where_sysrq_has_no_effect(
    crashed: Callable[[Scenario], Run],
) -> None:
    no_sysrq = "mount --bind /dev/null /proc/sysrq-trigger\n"
    run = crashed(Scenario(hooks={"collect": no_sysrq}, storage_delay_s=0))
    assert run.ending == "guest-reset", run.text


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's root, unpacked."""
    folder = tmp_path_factory.mktemp("image") / "root"
    run_program("unsquashfs", "-quiet", "-no-progress", "-dest", str(folder), str(app().disk))
    return folder


def test_the_image_is_small() -> None:
    size_bytes = app().disk.stat().st_size
    print(f"{size_bytes / MIB:.1f} MiB")
    assert size_bytes <= MOST_BYTES


def test_the_image_holds_only_what_kdumpd_runs(root: Path) -> None:
    names = {str(path.relative_to(root)) for path in root.rglob("*")}
    programs = {name for name in names if re.fullmatch("usr/s?bin/[^/]*", name)}
    assert {Path(name).name for name in programs} == {
        *("age", "kdumpd", "ldconfig", "makedumpfile", "python3", "python3.14", "vmcore-dmesg")
    }
    unwanted = re.compile(r"\.(py|h|a|pyi|1\.gz)$|/(pip|tests?|_tests|__pycache__|man|locale)(/|$)")
    assert not [name for name in names if unwanted.search(name)]
    assert {
        name.split("/")[4] for name in names if name.startswith("usr/share/doc/") and name.count("/") > 3
    } == {*("copyright", "NOTICE")}


def test_nobody_but_root_may_change_the_image(root: Path) -> None:
    for path in root.rglob("*"):
        status = path.lstat()
        loose = stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH
        assert path.is_symlink() or not status.st_mode & loose, path
        assert (status.st_uid, status.st_gid) == (0, 0), path


@pytest.mark.parametrize(
    "command",
    [
        "--version",
        "run --no-reboot",
        "status",
        "list",
        "show x",
        "prune",
        "export x y",
        "analyze x --debug y",
    ],
)
def test_every_command_works_in_the_image(root: Path, command: str) -> None:
    script = 'mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && shift && exec chroot "$@"'
    inside = [str(root), "/usr/bin/kdumpd", *command.split()]
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(root), *inside],
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode in {0, 1, 2}
    assert not re.search("internal error|Traceback", result.stdout + result.stderr), result


def test_the_bill_of_materials_names_what_is_inside(root: Path) -> None:
    inside = root / "usr/share/sbom/kdumpd.spdx.json"
    document = json.loads(inside.read_text())
    assert inside.read_bytes() == app().disk.with_name("kdumpd.spdx.json").read_bytes()
    packages = {package["name"]: package for package in document["packages"]}
    assert packages.keys() >= {
        "kdumpd",
        "trio",
        "pyudev",
        "attrs",
        "makedumpfile",
        "kexec-tools",
        "libudev1",
        "libc6",
    }
    identifiers = [package["SPDXID"] for package in packages.values()]
    assert len(set(identifiers)) == len(identifiers)
    named = {relation["relatedSpdxElement"] for relation in document["relationships"]}
    assert named == set(identifiers)
    release = packages["makedumpfile"]["versionInfo"].partition(":")[2].partition("-")[0]
    assert tuple(map(int, release.split("."))) >= (1, 7, 7)
    for name in packages.keys() - {path.name.partition("-")[0] for path in root.rglob("*.dist-info")}:
        assert (root / "usr/share/doc" / name / "copyright").exists()


def test_makedumpfile_has_zstd_and_lzo(root: Path) -> None:
    told = run_program("chroot", str(root), "/usr/bin/makedumpfile", "-v")
    assert re.search(r"^zstd\tenabled$", told, re.MULTILINE)
    assert re.search(r"^lzo\tenabled$", told, re.MULTILINE)


def test_the_image_says_what_it_is() -> None:
    settings = image_settings(app().archive)
    assert settings["Entrypoint"] == ["/usr/bin/kdumpd", "run"]
    labels = settings["Labels"]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert labels[f"org.opencontainers.image.{name}"]


def test_two_builds_of_the_same_have_the_same_contents(tmp_path: Path) -> None:
    """The cached build is one of them, if it was made of this commit and of the packages of today."""
    fresh = build_anew(tmp_path)
    other = app().disk
    if materials(other) != materials(fresh):
        kept = shutil.copytree(fresh.parent, tmp_path / "kept")
        fresh, other = kept / fresh.name, build_anew(tmp_path)
    assert fresh.read_bytes() == other.read_bytes()


def build_anew(cache: Path) -> Path:
    """Build the image with nothing of an earlier build, at a terminal; returns its disk."""
    command: list[str | Path] = [REPOSITORY / "scripts/image", "--fresh"]
    try:
        done = at_terminal(command, limit_s=BUILD_S, XDG_CACHE_HOME=str(cache))
    finally:
        shutil.rmtree(cache / "kdumpd/buildah", ignore_errors=True)
    assert done.returncode == 0, done.stdout
    return Path(next(line.split()[0] for line in done.stdout.splitlines() if ".squashfs" in line))


def materials(disk: Path) -> bytes:
    """What an image was made of: each package's version, and the time of the last commit."""
    return disk.with_name("kdumpd.spdx.json").read_bytes()
