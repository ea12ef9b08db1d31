"""The worst logs: the search takes linear time, little memory, and lets other threads have turns."""

import sys
import threading
import time
import tracemalloc

import pytest

from kdumpd.dmesg.panic import find_panic

MIB = 1 << 20
# A turn is asked for after 5 ms (sys.getswitchinterval); then a regular expression ends its piece.
LONGEST_HOLD_S = 0.05

WORST = [
    b"BUG: \n",
    b"a invoked oo",
    b"0123456789\n",
    b"Mar  3 11:22:33 edge7 \n",
    b"INFO: task " + b"a" * 60 + b"\n",
    b"1,1,1,-," + b"caller=" * 28 + b"\n",
    b"[" * 199 + b"\n",
    b"x" * MIB,
    b"\x1b[0;0;0\n",
    b"Oops: " + b"x" * 200 + b"\n",
    b"WARNING: x\n---[ end trace\n",
]


def longest_hold_s(log: bytes) -> float:
    """The most processor time that the search takes between two turns of another thread."""
    clock, main = time.pthread_getcpuclockid(threading.get_ident()), [0.0]
    holds, done = [0.0], threading.Event()

    def watch() -> None:
        main[0] = time.clock_gettime(clock)
        while not done.is_set():
            now = time.clock_gettime(clock)
            holds.append(now - main[0])
            main[0] = now
            time.sleep(0.0002)

    watchdog = threading.Thread(target=watch)
    watchdog.start()
    find_panic(log)
    done.set()
    watchdog.join()
    return max(holds)


@pytest.mark.parametrize("unit", WORST, ids=lambda unit: repr(unit[:12]))
def test_no_regular_expression_keeps_other_threads_waiting(unit: bytes) -> None:
    log = unit * (MIB // 2 // len(unit)) + unit
    # On a busy machine the thread may wait for a processor and not for the search: the best of three.
    assert min(longest_hold_s(log) for _ in range(3)) < LONGEST_HOLD_S + sys.getswitchinterval()


@pytest.mark.parametrize("unit", WORST, ids=lambda unit: repr(unit[:12]))
def test_the_worst_log_takes_little_time(unit: bytes) -> None:
    log = unit * (MIB // 2 // len(unit)) + unit
    start = time.process_time()
    find_panic(log)
    assert (time.process_time() - start) / len(log) * MIB < 1.5  # 0.3 s on a machine that does nothing else


def test_memory_does_not_grow_with_the_log() -> None:
    log = b"[    1.000000] acme0: link up, and nothing else to tell\n" * (8 * MIB // 56)
    tracemalloc.start()
    find_panic(log)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * MIB
