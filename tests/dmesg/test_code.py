"""The code around a crash, its registers, and values that the kernel puts where nobody should read them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.dmesg.code import read_code
from kdumpd.dmesg.panic import find_panic
from kdumpd.dmesg.poison import name_pointer, name_value

LOGS = Path(__file__).parents[1] / "data/logs"


def text_of(name: str) -> tuple[str, ...]:
    panic = find_panic((LOGS / f"{name}.log").read_bytes())
    assert panic is not None
    return panic.text


@pytest.mark.parametrize(
    ("name", "place", "first", "registers", "address"),
    [
        ("null-dereference-6.12", "kdtest_write_null+0x9/0x20", 0xDB, 16, 0),
        ("gpf-6.1", "__list_del_entry_valid+0x2a/0xa0", 0xF9, 16, 0xDEAD000000000122),
        ("killed-init-by-oops-5.10", "cgroup_mkdir+0x4f/0x4b0", 0xE6, 16, 0x30),
        ("page-fault-2.6.32", "e1000_clean_tx_irq+0x5b/0x310", 0x6D, 1, 0xFFFFC90017BD1000),
        ("nmi-6.12", "pv_native_safe_halt+0xf/0x20", 0xC4, 16, None),
    ],
)
def test_code_of_the_corpus(name: str, place: str, first: int, registers: int, address: int | None) -> None:
    code = read_code(text_of(name))
    assert code is not None
    assert (code.place, code.code[code.at], code.at) == (place, first, 42 if code.at > 40 else code.at)
    assert (len(code.registers), code.address) == (registers, address)


def test_a_programs_code_is_not_the_kernels() -> None:
    code = read_code(text_of("vm-null-dereference-6.1"))
    assert code is not None
    assert (code.code, code.address) == (b"", 0)
    assert code.registers["rsp"] >> 56 == 0xFF


def test_of_several_places_that_of_the_symbol_counts() -> None:
    lines = ["RIP: 0010:a+0x1/0x2", "Code: <90>", "RIP: 0010:b+0x3/0x4", "Code: 90 <cc> 01"]
    first, second = read_code(lines), read_code(lines, "b")
    assert first is not None
    assert second is not None
    assert (first.place, first.code) == ("a+0x1/0x2", b"\x90")
    assert (second.place, second.code, second.at) == ("b+0x3/0x4", b"\x90\xcc\x01", 1)


@pytest.mark.parametrize("lines", [[], ["Code: <90>"], ["RIP: 0033:0x7f1c5ba010f0", "Code: <90>"]])
def test_without_a_place_in_the_kernel_there_is_none(lines: list[str]) -> None:
    assert read_code(lines) is None


@given(st.lists(st.sampled_from(["RIP: 0010:", "Code: ", "<9", "90 ", "RAX: ", "0" * 16, "x+0x1/0x1"])))
def test_any_text_is_read(parts: list[str]) -> None:
    read_code("".join(parts).split("x"))
    read_code(parts)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0, "NULL"),
        (0x18, "0x18 from NULL"),
        (0x6B6B6B6B6B6B6B6B, "freed slab memory"),
        (0x6B6B6B6B6B6B6B83, "freed slab memory (POISON_FREE), +0x18"),
        (0x5A5A5A5A5A5A5A5A, "never written"),
        (0xDEAD000000000100, "LIST_POISON1"),
        (0xDEAD000000000108, "LIST_POISON1, its next), +0x8"),
        (0xDEAD000000000122, "LIST_POISON2"),
        (0xDEAD4EAD00000000, "spinlock"),
        (0xDFFFFC0000000003, "KASAN's shadow of 0x18"),
        (0xFFFFFFFFFFFFFFF4, "-ENOMEM"),
        (int.from_bytes(b"/dev/sda", "little"), "text, '/dev/sda'"),
    ],
)
def test_a_pointer_is_named(value: int, name: str) -> None:
    assert name in str(name_pointer(value))


@pytest.mark.parametrize("value", [0x1000, 0xFFFF9B1F0A2C4000, 0xDEAD000000002000, 0x7F1C5BA010F0])
def test_another_pointer_is_not(value: int) -> None:
    assert name_pointer(value) is None


def test_a_small_number_is_no_pointer() -> None:
    assert name_value(0) is None
    assert name_value(0x18) is None
    assert "freed slab memory" in str(name_value(0x6B6B6B6B6B6B6B6B))
