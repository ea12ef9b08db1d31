"""Each module has a test of its name, or is tested somewhere else for a reason."""

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "src/kdumpd"

# Where a module without a test of its own name is tested, and why there.
ELSEWHERE = {
    # Only real symbols and a real dump try these: a panic in QEMU, once for all of them.
    "analysis/command": "vm/test_analysis.py",
    "analysis/core": "vm/test_analysis.py",
    "analysis/examine": "vm/test_analysis.py",
    "analysis/machine": "vm/test_analysis.py",
    "analysis/memory": "vm/test_analysis.py",
    "analysis/progress": "vm/test_analysis.py",
    "analysis/shell": "vm/test_analysis.py",
    "analysis/stacks": "vm/test_analysis.py",
    # Records alone; the two renderings show each of their fields.
    "analysis/findings": "analysis/test_text.py",
    # Tried by what a user types and sees.
    "cli/arguments": "cli/test_main.py",
    "cli/drill": "cli/test_main.py",
    "cli/listing": "cli/test_commands.py",
    # One half of a pair, tried with the half that calls it.
    "crashes/archive": "crashes/test_bundle.py",
    "crashes/describe": "crashes/test_bundle.py",
    "dmesg/report": "dmesg/test_panic.py",
    "dmesg/search": "dmesg/test_panic.py",
    # What a report means is tried on whole logs of every kind.
    "dmesg/context": "dmesg/test_kinds.py",
    "dmesg/culprit": "dmesg/test_kinds.py",
    "dmesg/functions": "dmesg/test_kinds.py",
    "dmesg/heads": "dmesg/test_kinds.py",
    "dmesg/poison": "dmesg/test_code.py",
    "dump/stream": "dump/test_job.py",
    "dump/verdict": "dump/test_job.py",
    # Parts of the eraser, tried with whole streams.
    "dump/freemarks": "dump/test_eraser.py",
    "dump/records": "dump/test_eraser.py",
    # What a look at the memory map asks of, tried on whole maps.
    "vmcore/freepages": "vmcore/test_survey.py",
    "vmcore/memorymap": "vmcore/test_survey.py",
    "vmcore/pageclasses": "vmcore/test_survey.py",
    "host/commit": "dump/test_capture.py",
    "run/crashfolder": "run/test_supervisor_limits.py",
    "run/state": "run/test_supervisor.py",
    # The lines of the same logs.
    "dmesg/lines": "dmesg/test_panic.py",
    # The end of a long log, tried with the programs that write it.
    "dump/logtail": "dump/test_tools.py",
    # A mount table that really changes; with a fake one it would prove nothing.
    "host/mountevents": "system/test_mount_watch.py",
    # Nurseries that outlive a cancel: tried at every checkpoint of a run.
    "host/background": "run/test_cancel.py",
    # Only an interface.
    "host/machine": "host/test_linux.py",
    # Parts of the simulated machine, tried as embedders use it.
    "testing/console": "testing/test_simulation.py",
    "testing/crash": "testing/test_simulation.py",
    "testing/disk": "testing/test_simulation.py",
    "testing/kdumpfile": "testing/test_simulation.py",
    "testing/machine": "testing/test_simulation.py",
    "testing/makedumpfile": "testing/test_simulation.py",
    "testing/programs": "testing/test_simulation.py",
    "testing/timers": "testing/test_simulation.py",
}


def without_a_test() -> set[str]:
    modules = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.glob("*/*.py"))
    return {
        str(module)
        for module in modules
        if module.name != "__init__" and not (TESTS / module.parent / f"test_{module.name}.py").exists()
    }


def test_each_module_has_its_test_or_a_reason() -> None:
    assert without_a_test() == ELSEWHERE.keys()


def test_the_other_tests_are_there() -> None:
    assert [test for test in ELSEWHERE.values() if not (TESTS / test).exists()] == []
