"""The faulting instruction, its registers and its address, from the text of a log."""

import sys

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analysis.sample import REPORT

from kdumpd.analysis.instruction import Instruction, lines, read
from kdumpd.analysis.text import render

HEAD = "BUG: unable to handle page fault for address: {address}"
REGISTERS = (
    "RSP: 0018:ffffb0c2c0a3bd18 EFLAGS: 00000246",
    "RAX: 0000000000000001 RBX: ffff9b1f0a2c4000 RCX: 0000000000000002",
    "RDX: dead000000000122 RSI: 0000000000000001 RDI: 6b6b6b6b6b6b6b6b",
    "RBP: ffff9b1f0a2c4018 R08: 0000000000000000 R09: 0000000000000000",
)


def crash(code: str, *above: str) -> Instruction:
    text = (*above, "RIP: 0010:acme_put+0x2a/0xfa [acme_nic]", f"Code: 0f 1f 00 {code}", *REGISTERS)
    found = read(attrs.evolve(REPORT.record, panic_text=text, symbol="acme_put"))
    assert found is not None
    return found


def test_a_load_through_a_pointer_out_of_freed_memory() -> None:
    found = crash("<48> 8b 47 18 c3 cc")
    assert lines(found) == [
        "acme_put+0x2a/0xfa: mov rax, qword ptr [rdi + 0x18]",
        "  rdi = 6b6b6b6b6b6b6b6b  (freed slab memory (POISON_FREE))",
        "  rax = 0000000000000001",
        "  address = 6b6b6b6b6b6b6b83  (freed slab memory (POISON_FREE), +0x18)",
        "  then ret",
        "  then int3",
    ]


def test_a_store_through_null_has_the_address_that_the_kernel_names() -> None:
    found = crash("<41> 89 40 08", "BUG: kernel NULL pointer dereference, address: 0000000000000008")
    assert found.text == "mov dword ptr [r8 + 8], eax"
    notes = {value.name: value.note for value in found.values}
    assert notes == {"r8": "NULL", "rax": None, "address": "0x8 from NULL: a member of a NULL structure"}


def test_an_index_counts_and_a_register_that_is_no_pointer_is_named_all_the_same() -> None:
    found = crash("<48> 89 54 cb 10")  # mov qword ptr [rbx + rcx*8 + 0x10], rdx
    values = {value.name: value.value for value in found.values}
    assert values["address"] == 0xFFFF9B1F0A2C4000 + 2 * 8 + 0x10
    assert any("removed list entry" in line for line in lines(found))


def test_the_target_of_a_jump_is_an_offset_in_the_function() -> None:
    assert crash("<90> eb 02").following == ("jmp 0x2f",)


@pytest.mark.parametrize("code", ["<65> 48 8b 04 25 00 00 00 00", "<48> 8b 05 10 00 00 00", "<0f> 0b"])
def test_an_address_that_the_log_does_not_tell_is_left_out(code: str) -> None:
    assert "address" not in {value.name for value in crash(code).values}


def test_bytes_that_are_no_instruction_are_shown_as_they_are() -> None:
    assert lines(crash("<06> 07")) == ["acme_put+0x2a/0xfa: bytes 06 07"]


def test_without_capstone_the_bytes_and_the_address_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    found = crash("<48> 8b 47 18", HEAD.format(address="dead000000000100"))
    assert lines(found) == [
        "acme_put+0x2a/0xfa: bytes 48 8b 47 18",
        "  address = dead000000000100  (a removed list entry (LIST_POISON1, its next))",
    ]


def test_the_report_shows_it() -> None:
    text = render(attrs.evolve(REPORT, instruction=crash("<48> 8b 47 18")))
    assert "Instruction\n  acme_put+0x2a/0xfa: mov rax, qword ptr [rdi + 0x18]\n" in text


def test_a_record_without_code_has_none() -> None:
    assert read(attrs.evolve(REPORT.record, panic_text=())) is None


@given(st.binary(min_size=1, max_size=22))
def test_any_bytes_are_read(code: bytes) -> None:
    found = crash(f"<{code[0]:02x}> {code[1:].hex(' ')}".rstrip())
    assert found.code == code.hex(" ")
    assert all(line.isascii() for line in lines(found))
