"""What EVE would run: kdumpd out of its image, started by runc as etc/linuxkit/build.yml says."""

import re
from collections.abc import Callable

import pytest

from .scenario import Run, Scenario

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
        "/persist stays mounted: Operation not permitted (it takes CAP_SYS_ADMIN)"
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
