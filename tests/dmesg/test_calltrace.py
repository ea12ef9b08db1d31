"""Call traces: by caller, by context, and whose they are."""

from kdumpd.dmesg.calltrace import Owner, Trace, read_traces
from kdumpd.dmesg.lines import read_lines

TRACE = """\
CPU: 1 PID: 7 Comm: a:b Not tainted 6.1 #1
RIP: 0010:place+0x1/0x2 [mod]
Call Trace:
 <IRQ>
 ? guess+0x1/0x2
 panic+0x1/0x2
 handler.cold+0x1/0x2 [mod]
 </IRQ>
 <TASK>
 asm_sysvec_apic_timer_interrupt+0x1/0x2
RIP: 0010:stuck+0x1/0x2
RAX: 0000000000000000
 caller+0x1/0x2
RIP: 0033:0x7f0000000000
 </TASK>
Modules linked in: a
 late+0x1/0x2
"""
ARM = """\
Backtrace:
[<80c1e5e8>] (first) from [<80c1eb20>] (second+0x60/0xdc)
 r9:00000000
[<80c1eb20>] (second) from [<80c1ec14>] (third+0x48/0x6c)
"""


def read(text: str) -> tuple[Trace, ...]:
    return read_traces(read_lines(text, 100))


def test_a_trace_is_read_by_context() -> None:
    (trace,) = read(TRACE)
    sections = [[frame.function for frame in section] for section in trace.sections if section]
    assert sections == [["panic", "handler.cold"], ["asm_sysvec_apic_timer_interrupt"], ["stuck", "caller"]]
    assert trace.owner == Owner(command="a:b", pid=7, cpu=1)
    assert trace.place is not None
    assert (trace.place.function, trace.place.module) == ("place", "mod")
    assert trace.lines[-1] == 14


def test_no_trace() -> None:
    assert read("nothing\n") == ()
    assert read_traces([]) == ()


def test_each_caller_has_its_own() -> None:
    lines = ["[ T1] Call Trace:", "[ T2] Call Trace:", "[ T1]  one+0x1/0x2", "[ T2]  two+0x1/0x2"]
    found = read("".join(f"[    1.000000]{line}\n" for line in lines))
    assert [(trace.caller, trace.frames) for trace in found] == [("T1", ("one",)), ("T2", ("two",))]


def test_frames_of_arm() -> None:
    assert [trace.frames for trace in read(ARM)] == [("first", "second")]


def test_a_frame_at_offset_0_is_the_function_after_one_that_never_returns() -> None:
    assert read("Call trace:\n a+0x1/0x2\n b+0x0/0x2\n c+0x1/0x2\n")[0].frames == ("a", "c")


def test_a_grace_period_thread_is_marked() -> None:
    found = read("task:rcu_preempt state:R stack:0 pid:15 ppid:2\nCall Trace:\n rcu_gp_kthread+0x1/0x2\n")
    assert [trace.grace_period for trace in found] == [True]
