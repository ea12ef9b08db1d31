"""Before any crash: `000-kexec` loads a capture kernel or says why not, the boot goes on, and status knows.

Status is asked out of the image in two ways: as docs/operating.md has it, with the machine's folders put into
the image's root, and in the container as etc/linuxkit/build.yml has it.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest

from .evidence import Evidence
from .scenario import MIB, Scenario

pytestmark = pytest.mark.vm

LOOK = """
sh /scenario/storage-init
dmesg | grep -o 'kdumpd: .*' > /persist/said
cat /proc/sys/kernel/kexec_load_disabled > /persist/forbidden
out_of_the_image() {
    unshare --mount sh -c '
        for name in dev proc sys run persist; do mount --rbind "/$name" "$0/$name"; done
        exec chroot "$0" /usr/bin/kdumpd "$@"' /app "$@"
}
out_of_the_image status > /persist/text
echo $? > /persist/exit
out_of_the_image status --json > /persist/json
kdumpd status --json > /persist/json-of-the-container
echo $? > /persist/exit-of-the-container
kdumpd run > /persist/run-of-the-container
echo $? >> /persist/run-of-the-container
"""
LEAVE = """
umount /persist
busybox poweroff -f
"""
AGAIN = """
kexec -p /boot/vmlinuz --reuse-cmdline 2> /persist/second-load && echo done >> /persist/second-load
kexec -p -u 2> /persist/unload && echo done >> /persist/unload
cat /sys/kernel/kexec_crash_loaded > /persist/loaded
/etc/init.d/000-kexec
dmesg | grep -o 'kdumpd: .*' > /persist/said-again
"""
PLAIN = Scenario(memory_bytes=1024 * MIB, storage_delay_s=0, hooks={"before-crash": LOOK + LEAVE})
SCHEMA = json.loads((Path(__file__).parents[2] / "docs/status.schema.json").read_text())
Crashed = Callable[[Scenario], Evidence]


@attrs.frozen(kw_only=True)
class Trouble:
    """Why a machine is not armed: what the kernel log says, and status's one reason for it."""

    scenario: Scenario
    said: str
    code: str
    text: str


TROUBLES = {
    "nothing reserved": Trouble(
        scenario=attrs.evolve(PLAIN, memory_bytes=512 * MIB, crashkernel="480M"),
        said="capture kernel not loaded: the kernel reserved no memory for crashkernel=480M",
        code="reservation-failed",
        text="the kernel reserved no memory for crashkernel=480M",
    ),
    "nothing asked for": Trouble(
        scenario=attrs.evolve(PLAIN, crashkernel=""),
        said="capture kernel not wanted: no crashkernel= on the command line",
        code="no-crashkernel",
        text="no crashkernel= on the kernel command line",
    ),
    "no kernel file": Trouble(
        scenario=attrs.evolve(PLAIN, hooks={**PLAIN.hooks, "before-load": "KDUMPD_KERNEL=/boot/gone\n"}),
        said="capture kernel not loaded: kernel file /boot/gone is missing",
        code="load-failed",
        text="the capture kernel was not loaded: kernel file /boot/gone is missing",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_not_armed(collected: Crashed, name: str) -> None:
    trouble = TROUBLES[name]
    left = collected(trouble.scenario)
    require_clean_end(left)
    assert lines(left, "said") == [f"kdumpd: {trouble.said}"]
    assert lines(left, "forbidden") == ["1"]
    assert lines(left, "exit") == ["1"]
    status = status_of(left, "json")
    assert status["armed"] is False
    (reason,) = status["reasons"]
    assert (reason["code"], reason["text"]) == (trouble.code, trouble.text)
    shown = text(left)
    assert shown.startswith("kdumpd: NOT ARMED ")
    assert f"reason {reason['text']} " in shown
    assert f"remedy {reason['remedy']} " in shown


@pytest.mark.parametrize("name", TROUBLES)
def test_not_armed_in_the_container(collected: Crashed, name: str) -> None:
    trouble = TROUBLES[name]
    left = collected(trouble.scenario)
    assert lines(left, "exit-of-the-container") == ["1"]
    (reason,) = status_of(left, "json-of-the-container")["reasons"]
    assert (reason["code"], reason["text"]) == (trouble.code, trouble.text)
    assert lines(left, "run-of-the-container") == [f"kdumpd: not armed: {trouble.code} {trouble.text}", "0"]


def test_armed(collected: Crashed) -> None:
    left = collected(attrs.evolve(PLAIN, hooks={"before-crash": LOOK + AGAIN + LEAVE}))
    require_clean_end(left)
    assert lines(left, "said") == [
        "kdumpd: capture kernel loaded: /boot/vmlinuz; modules on: the capture kernel has an initrd"
    ]
    assert (lines(left, "exit"), lines(left, "exit-of-the-container")) == (["0"], ["0"])
    assert lines(left, "run-of-the-container") == ["kdumpd: armed", "0"]
    for name in ("json", "json-of-the-container"):
        status = status_of(left, name)
        assert (status["armed"], status["reasons"]) == (True, [])
        assert status["capture_kernel"].items() >= {"loaded": True, "kexec_forbidden": True}.items()
        assert status["capture_kernel"]["reserved_bytes"] == 128 * MIB
        assert status["storage"]["filesystem"] == "ext4"
        assert status["makedumpfile"]["compression"] == "zstd"
    loaded = "kernel /boot/vmlinuz is loaded, further kexec is forbidden; modules on: "
    assert f"{loaded}the capture kernel has an initrd " in text(left)


def test_armed_stays_armed(collected: Crashed) -> None:
    left = collected(attrs.evolve(PLAIN, hooks={"before-crash": LOOK + AGAIN + LEAVE}))
    for attempt in ("second-load", "unload"):
        said = lines(left, attempt)
        assert "Operation not permitted" in " ".join(said)
        assert "done" not in said
    assert lines(left, "loaded") == ["1"]
    assert lines(left, "said-again") == [
        *lines(left, "said"),
        "kdumpd: 000-kexec already ran in this boot, nothing done",
    ]


def require_clean_end(left: Evidence) -> None:
    """The boot went on to the end of the scenario, without a panic."""
    assert left.run.ending == "guest-shutdown", left.run.text
    assert "vm: failed" not in left.run.text
    assert not left.run.persist.fault()


def lines(left: Evidence, name: str) -> list[str]:
    return (left.root / name).read_text().splitlines()


def text(left: Evidence) -> str:
    """What status shows a person, as one line."""
    return re.sub(r"\s+", " ", (left.root / "text").read_text())


def status_of(left: Evidence, name: str) -> dict[str, Any]:
    """What status tells a program, held against its schema."""
    status: dict[str, Any] = json.loads((left.root / name).read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(status)
    return status
