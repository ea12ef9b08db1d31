"""``etc/init.d/000-kexec`` under two shells, with files for /proc and /sys and a kexec that records."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from attrs import frozen

SCRIPT = Path(__file__).parents[1] / "etc/init.d/000-kexec"
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "ash"]}
# All that the script may call, beside kexec. Under busybox they are busybox's own.
TOOLS = ("cat", "cut", "grep", "mkdir", "mv", "tr", "uname")

RESERVED = "root=/dev/sda2 console=ttyS0 crashkernel=128M panic=120"
NO_PANIC = "softlockup_panic=0 hung_task_panic=0 panic_on_warn=0 sysctl.kernel.panic_on_oops=0"
WITH_MODULES = f"irqpoll nr_cpus=1 reset_devices {NO_PANIC}"
APPENDED = f"{WITH_MODULES} nomodule"
UDEV = "udev.children-max=2"
NO_MODULES = "off: no file system of persist is a module of this kernel"
LOADED = f"<6>kdumpd: capture kernel loaded: kernel; modules {NO_MODULES}\n"


@frozen(kw_only=True)
class Machine:
    """A folder that stands for a machine, and the shell that runs the script on it."""

    root: Path
    shell: str

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # Tests run as root: never through a link to a file of the host.
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "w") as stream:
            stream.write(text)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def program(self, name: str, body: str) -> None:
        self.write(f"bin/{name}", f"#!/bin/sh\n{body}\n")
        (self.root / "bin" / name).chmod(0o755)

    def boot(self, **environment: str) -> str:
        """Run the script as init does; it must succeed. Returns what it left on the terminal."""
        settings = {
            "ARCHITECTURE": "x86_64",
            "KERNEL": "kernel",
            "CMDLINE": "cmdline",
            "VMCORE": "vmcore",
            "CRASH_SIZE": "crash_size",
            "CRASH_LOADED": "crash_loaded",
            "LOAD_DISABLED": "load_disabled",
            "XEN_GUEST_TYPE": "guest_type",
            "BOOT_ID": "boot_id",
            "KMSG": "kmsg",
            "MODULE_TREE": "modules",
            "STATE_DIR": "run/kdumpd",
        }
        done = subprocess.run(
            [shutil.which(SHELLS[self.shell][0]) or self.shell, *SHELLS[self.shell][1:], SCRIPT],
            cwd=self.root,
            env={"PATH": str(self.root / "bin")}
            | {f"KDUMPD_{name}": value for name, value in settings.items()}
            | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            restore_signals=False,
        )
        assert (done.returncode, done.stdout) == (0, "")
        return done.stderr

    @property
    def argv(self) -> list[str]:
        return self.read("argv").splitlines()

    @property
    def was_loaded(self) -> bool:
        return (self.root / "argv").exists()

    @property
    def state(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.read("run/kdumpd/load").splitlines())

    def capture_line(self, system_line: str, **environment: str) -> str:
        self.write("cmdline", system_line + "\n")
        self.boot(**environment)
        (option,) = (word for word in self.argv if word.startswith("--command-line="))
        assert self.state["command_line"] == option.removeprefix("--command-line=")
        return option.removeprefix("--command-line=")


def host_tool(tool: str, shell: str) -> str:
    program = shutil.which("busybox" if shell == "busybox" else tool)
    assert program, f"{tool} is needed"
    return f"{program} {tool}" if shell == "busybox" else program


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A machine with a reservation and a kernel file, on which loading works."""
    machine = Machine(root=tmp_path, shell=request.param)
    machine.write("cmdline", RESERVED + "\n")
    machine.write("crash_size", "134217728\n")
    machine.write("crash_loaded", "0\n")
    machine.write("load_disabled", "0\n")
    machine.write("boot_id", "5e0d5a6c-boot\n")
    machine.write("kernel", "a kernel")
    machine.program("kexec", 'printf "%s\\n" "$@" >argv; echo 1 >crash_loaded; echo noise; echo noise >&2')
    for tool in TOOLS:
        # A script, not a link: nothing written in the folder can reach a program of the host.
        machine.program(tool, f'exec {host_tool(tool, machine.shell)} "$@"')
    return machine


def test_loads_the_kernel_forbids_more_and_says_so(machine: Machine) -> None:
    assert machine.boot() == ""
    line = f"root=/dev/sda2 console=ttyS0 panic=120 {APPENDED}"
    assert machine.argv == ["-p", f"--command-line={line}", "kernel"]
    assert machine.read("load_disabled") == "1\n"
    assert machine.read("kmsg") == LOADED
    assert machine.state == {
        "result": "loaded",
        "cause": "",
        "kernel": "kernel",
        "initrd": "",
        "command_line": line,
        "modules": NO_MODULES,
        "boot": "5e0d5a6c-boot",
    }


def test_kexec_runs_before_it_is_forbidden(machine: Machine) -> None:
    machine.program("kexec", "cat load_disabled >when; echo 1 >crash_loaded")
    machine.boot()
    assert (machine.read("when"), machine.read("load_disabled")) == ("0\n", "1\n")


def test_initrd_and_kernel_are_settings(machine: Machine) -> None:
    machine.write("initrd.img", "an initrd")
    machine.write("vmlinuz", "a kernel")
    machine.boot(KDUMPD_INITRD="initrd.img", KDUMPD_KERNEL="vmlinuz")
    assert machine.argv[0] == "-p"
    assert machine.argv[2:] == ["--initrd=initrd.img", "vmlinuz"]
    assert (machine.state["initrd"], machine.state["kernel"]) == ("initrd.img", "vmlinuz")


def test_kexec_program_is_a_setting(machine: Machine) -> None:
    (machine.root / "bin/kexec").rename(machine.root / "other-kexec")
    machine.boot(KDUMPD_KEXEC="./other-kexec")
    assert machine.was_loaded


@pytest.mark.parametrize(
    "word",
    [
        "BOOT_IMAGE=/boot/kernel",
        "log_buf_len=2M",
        "log-buf-len=2M",
        "hugepages=4",
        "hugepagesz=1G",
        "default_hugepagesz=1G",
        "sysctl.vm.nr_hugepages=8",
        "hugetlb_cma=1G",
        "cma=64M",
        "kernelcore=1G",
        "movablecore=50%",
        "swiotlb=65536",
        "mem=4G",
        "memmap=64M@1G",
        "nr_cpus=8",
        "maxcpus=4",
        "possible_cpus=8",
        "isolcpus=inverse,0",
        "nohz_full=1-7",
        "rcu_nocbs=1-7",
        "rcu_nocb_poll",
        "irqaffinity=2",
        "trace_buf_size=64M",
        "trace_event=sched:*",
        "ftrace=function",
        "slub_debug=FZP",
        "slab_debug=FZP",
        "page_owner=on",
        "debug_pagealloc=on",
        "kmemleak=on",
        "panic_on_warn=1",
        "hung_task_panic=1",
        "softlockup_panic=1",
        "unknown_nmi_panic",
        "oops=panic",
        "sysctl.kernel.panic_on_oops=1",
        "sysctl.kernel.panic_on_warn=1",
        "sysctl.kernel.hung_task_panic=1",
        "sysctl.kernel.softlockup_panic=1",
        "sysctl.kernel.unknown_nmi_panic=1",
        "sysctl/kernel/panic-on-oops=1",
        "sysctl.kernel/panic_on_oops=1",
        "sysctl.vm.panic_on_oom=1",
        '"log_buf_len=2M"',
        'log_buf_len="2M and more"',
    ],
)
def test_strips_what_a_capture_kernel_cannot_afford(machine: Machine, word: str) -> None:
    line = machine.capture_line(f"a=1 {word} crashkernel=128M {word} z=2")
    assert line == f"a=1 z=2 {APPENDED}"


@pytest.mark.parametrize(
    "word",
    [
        "intel_iommu=on",
        "dom0_mem=640M,max:800M",
        "panic=120",
        "nmi_watchdog=panic",
        'dyndbg="file a.c  +p; func * +p"',
        '"name=with  two spaces"',
        "xcrashkernel=1",
        "module.hugepages=1",
        "sysctl.kernel.panic=10",
        "kdumpd.dump.enabled=false",
        'kdumpd.storage.filesystems=["ext4", "xfs"]',
        "star=*",
        r"back=\n",
        "100%s",
        "$(reboot)",
    ],
)
def test_keeps_every_other_word_as_it_is(machine: Machine, word: str) -> None:
    line = machine.capture_line(f"  crashkernel=128M   a=1\t{word}")
    assert line == f"a=1 {word} {APPENDED}"


def test_quote_that_is_never_closed_does_not_swallow_the_appended_words(machine: Machine) -> None:
    line = machine.capture_line('crashkernel=128M a="never  closed')
    assert line == f'a="never  closed" {APPENDED}'


def test_words_for_init_are_left_out(machine: Machine) -> None:
    # kexec appends elfcorehdr= at the end: behind `--` the kernel would not read it and have no vmcore.
    line = machine.capture_line("crashkernel=128M a=1 --b -- c --init -- arg")
    assert line == f"a=1 --b {APPENDED}"


def test_crashkernel_after_the_double_dash_is_not_the_kernels(machine: Machine) -> None:
    machine.write("cmdline", "a=1 -- crashkernel=128M")
    machine.boot()
    assert machine.state["result"] == "not-wanted"


def test_appended_words_are_a_setting(machine: Machine) -> None:
    line = machine.capture_line("crashkernel=128M a=1", KDUMPD_APPEND='irqpoll x="1 2"')
    assert line == f'a=1 irqpoll x="1 2" {NO_PANIC} nomodule'


def test_no_appended_words(machine: Machine) -> None:
    line = machine.capture_line(
        "crashkernel=128M a=1",
        KDUMPD_APPEND="",
        KDUMPD_NO_PANIC="",
        KDUMPD_MODULES="on",
        KDUMPD_UDEV="",
        KDUMPD_BLACKLIST="",
    )
    assert line == "a=1"


# Modules


def has_modules(machine: Machine, *modules: str, built_in: str = "kernel/fs/ext4/ext4.ko\n") -> None:
    """Give the machine's kernel these modules, each of which needs another one."""
    lines = [
        f"kernel/drivers/{name}.ko.xz: kernel/lib/zlib.ko.xz kernel/lib/{name}_core.ko.xz" for name in modules
    ]
    machine.write("modules/modules.dep", "".join(f"{line}\n" for line in lines))
    machine.write("modules/modules.builtin", built_in)


@pytest.mark.parametrize("module", ["extra/zfs", "ext4"])
def test_modules_stay_on_where_a_file_system_of_persist_is_one(machine: Machine, module: str) -> None:
    has_modules(machine, "net/e1000", module, built_in="kernel/fs/xfs/xfs.ko\n")
    line = machine.capture_line("crashkernel=128M a=1")
    assert line == f"a=1 {WITH_MODULES} {UDEV} module_blacklist=e1000"
    assert machine.state["modules"] == f"on: {module.rpartition('/')[2]} is a module of this kernel"


@pytest.mark.parametrize(
    "modules", [("extra/zfs_core", "extra/not-zfs", "ext4_core"), ("ext4",), ()], ids=["like", "both", "none"]
)
def test_modules_are_off_where_no_file_system_of_persist_is_one(
    machine: Machine, modules: tuple[str, ...]
) -> None:
    has_modules(machine, *modules)
    assert machine.capture_line("crashkernel=128M a=1") == f"a=1 {APPENDED}"
    assert machine.state["modules"] == NO_MODULES


def test_a_kernel_with_an_initrd_needs_its_modules(machine: Machine) -> None:
    machine.write("initrd.img", "an initrd")
    assert "nomodule" not in machine.capture_line("crashkernel=128M", KDUMPD_INITRD="initrd.img")
    assert machine.state["modules"] == "on: the capture kernel has an initrd"


def test_the_setting_for_modules_takes_precedence(machine: Machine) -> None:
    has_modules(machine, "extra/zfs")
    assert machine.capture_line("crashkernel=128M", KDUMPD_MODULES="off").endswith(f"{NO_PANIC} nomodule")
    assert machine.state["modules"] == "off: KDUMPD_MODULES says so"
    (machine.root / "run/kdumpd/load").unlink()
    machine.write("crash_loaded", "0")
    machine.write("load_disabled", "0")
    has_modules(machine)
    assert machine.capture_line("crashkernel=128M", KDUMPD_MODULES="on") == f"{WITH_MODULES} {UDEV}"


def test_nomodule_among_the_appended_words_is_a_setting_too(machine: Machine) -> None:
    has_modules(machine, "extra/zfs")
    line = machine.capture_line("crashkernel=128M", KDUMPD_APPEND="irqpoll nomodule")
    assert line == f"irqpoll nomodule {NO_PANIC}"
    assert machine.state["modules"] == "off: KDUMPD_APPEND says so"


@pytest.mark.parametrize(
    "word", ["module_blacklist=own,other", '"module-blacklist=own,other"', 'module_blacklist="own,other"']
)
def test_the_systems_own_blacklist_is_kept(machine: Machine, word: str) -> None:
    has_modules(machine, "extra/zfs", "net/mlx5_core", "snd")
    line = machine.capture_line(f"crashkernel=128M module_blacklist=first {word}")
    assert line.endswith(" module_blacklist=own,other,mlx5_core,snd")


def test_a_long_line_loses_the_end_of_the_blacklist_and_nothing_else(machine: Machine) -> None:
    has_modules(machine, "extra/zfs", "net/mlx5_core", "net/e1000", "snd")
    word = "x" * (1951 - len(f" {WITH_MODULES} {UDEV} module_blacklist=mlx5_core,e1000"))
    line = machine.capture_line(f"crashkernel=128M {word}")
    assert line == f"{word} {WITH_MODULES} {UDEV} module_blacklist=mlx5_core,e1000"
    assert len(line) == 1951


def test_a_line_without_any_room_gets_no_blacklist(machine: Machine) -> None:
    has_modules(machine, "extra/zfs", "net/mlx5_core")
    word = "x" * 1940
    assert machine.capture_line(f"crashkernel=128M {word}") == f"{word} {WITH_MODULES} {UDEV}"


def test_eves_command_line_fits_with_every_name(machine: Machine) -> None:
    machine.write("initrd.img", "an initrd")
    eve = "root=PARTUUID=" + "x" * 600
    line = machine.capture_line(f"crashkernel=128M {eve}", KDUMPD_INITRD="initrd.img")
    assert line.endswith(",soundcore,snd")
    assert len(f"{line} elfcorehdr=0x7fffffffffff acpi_rsdp=0x7fffffffffff") < 2048


def test_nothing_that_a_watchdog_hangs_on_is_in_the_blacklist() -> None:
    text = SCRIPT.read_text()
    listed = re.findall(r'^blacklist=[\'"]([^\'"]*)', text, flags=re.MULTILINE)
    names = {name for part in listed for name in part.replace("$blacklist", "").split()}
    assert len(names) > 30
    assert not names & {
        "i2c_i801",
        "i2c_smbus",
        "lpc_ich",
        "mei",
        "mei_me",
        "ipmi_si",
        "ipmi_msghandler",
        "kempld_core",
        "w83627hf_wdt",
        "iTCO_wdt",
        "wdat_wdt",
        "hpwdt",
    }


def test_stripped_words_are_a_setting(machine: Machine) -> None:
    line = machine.capture_line("crashkernel=1M hugepages=4 x-y=1", KDUMPD_STRIP="crashkernel x_y")
    assert line == f"hugepages=4 {APPENDED}"


def test_stripped_words_are_no_file_name_patterns(machine: Machine) -> None:
    line = machine.capture_line("crashkernel=1M cmdline=1", KDUMPD_STRIP="crashkernel cmd*")
    assert line == f"cmdline=1 {APPENDED}"


@pytest.mark.slow
def test_long_line_for_init_breaks_no_pipe(machine: Machine) -> None:
    # Longer than a pipe holds, and SIGPIPE is ignored in boot(), as an init may leave it.
    machine.write("cmdline", "a=1 -- " + " ".join(["x" * 10_000] * 7))
    assert machine.boot() == ""


@pytest.mark.parametrize(
    ("file", "text", "cause"),
    [
        ("vmcore", "", "this is the capture kernel: vmcore is there"),
        ("cmdline", "root=/dev/sda2 quiet\n", "no crashkernel= on the command line"),
        ("cmdline", "", "no crashkernel= on the command line"),
    ],
)
def test_not_wanted(machine: Machine, file: str, text: str, cause: str) -> None:
    machine.write(file, text)
    assert machine.boot() == ""
    assert not machine.was_loaded
    assert (machine.state["result"], machine.state["cause"]) == ("not-wanted", cause)
    assert machine.read("kmsg") == f"<6>kdumpd: capture kernel not wanted: {cause}\n"
    assert machine.read("load_disabled") == "1\n"


def expect_failure(machine: Machine, cause: str, **environment: str) -> None:
    assert machine.boot(**environment) == ""
    assert machine.read("kmsg") == f"<3>kdumpd: capture kernel not loaded: {cause}\n"
    assert (machine.state["result"], machine.state["cause"]) == ("failed", cause)
    assert machine.read("load_disabled") == "1\n"


def test_reservation_of_nothing(machine: Machine) -> None:
    machine.write("cmdline", "crashkernel=256M,high a crashkernel=64M,low\n")
    machine.write("crash_size", "0\n")
    expect_failure(machine, "the kernel reserved no memory for crashkernel=256M,high crashkernel=64M,low")
    assert not machine.was_loaded


def test_kernel_without_kexec(machine: Machine) -> None:
    (machine.root / "crash_size").unlink()
    expect_failure(machine, "this kernel cannot kexec: crash_size cannot be read")


def test_missing_kernel_file(machine: Machine) -> None:
    expect_failure(machine, "kernel file /nowhere/kernel is missing", KDUMPD_KERNEL="/nowhere/kernel")
    assert not machine.was_loaded


def test_missing_initrd_file(machine: Machine) -> None:
    expect_failure(machine, "initrd file initrd.img is missing", KDUMPD_INITRD="initrd.img")


def test_missing_kexec_program(machine: Machine) -> None:
    expect_failure(machine, "program kexec-of-old is missing", KDUMPD_KEXEC="kexec-of-old")


def test_other_architecture(machine: Machine) -> None:
    cause = "architecture aarch64 is not supported, only x86_64 with kvm"
    expect_failure(machine, cause, KDUMPD_ARCHITECTURE="aarch64")


def test_architecture_is_asked_of_the_machine(machine: Machine) -> None:
    machine.boot(KDUMPD_ARCHITECTURE="")
    expected = "loaded" if os.uname().machine == "x86_64" else "failed"
    assert machine.state["result"] == expected


@pytest.mark.parametrize("guest_type", ["PV", "PVH"])
def test_xen_dom0(machine: Machine, guest_type: str) -> None:
    machine.write("guest_type", guest_type + "\n")
    expect_failure(machine, "Xen is not supported, only x86_64 with kvm")


def test_full_guest_of_xen_is_an_ordinary_machine(machine: Machine) -> None:
    machine.write("guest_type", "HVM\n")
    machine.boot()
    assert machine.state["result"] == "loaded"


def test_kexec_forbidden_by_somebody_else(machine: Machine) -> None:
    machine.write("load_disabled", "1\n")
    expect_failure(machine, "kexec was forbidden before this script ran: load_disabled is 1")
    assert not machine.was_loaded


def test_error_text_of_kexec_becomes_one_short_line(machine: Machine) -> None:
    machine.program("kexec", "printf 'Could not find\\n\\ta free area\\n\\n'; seq 100 199 >&2; exit 255")
    machine.program("seq", host_tool("seq", "dash") + ' "$@"')
    numbers = " ".join(str(number) for number in range(100, 200))
    expect_failure(machine, f"kexec: Could not find a free area {numbers}"[:307])


def test_kexec_that_fails_without_a_word(machine: Machine) -> None:
    machine.program("kexec", "exit 1")
    expect_failure(machine, "kexec: failed without a word")


def test_kexec_that_only_claims_success(machine: Machine) -> None:
    machine.program("kexec", "true")
    expect_failure(machine, "kexec reported success, but crash_loaded is not 1")


ALREADY = "<6>kdumpd: 000-kexec already ran in this boot, nothing done\n"


def test_second_run_does_nothing_but_say_so(machine: Machine) -> None:
    machine.boot()
    first = machine.state
    (machine.root / "argv").unlink()
    (machine.root / "kmsg").unlink()
    machine.boot(KDUMPD_APPEND="changed")
    assert not machine.was_loaded
    assert machine.state == first
    assert machine.read("kmsg") == ALREADY


def test_second_run_after_a_failure_keeps_its_cause(machine: Machine) -> None:
    machine.boot(KDUMPD_KERNEL="missing")
    machine.boot()
    assert not machine.was_loaded
    assert machine.state["cause"] == "kernel file missing is missing"
    assert machine.read("kmsg").endswith(ALREADY)


def test_result_of_another_boot_does_not_count(machine: Machine) -> None:
    machine.write("run/kdumpd/load", "result=failed\nboot=5e0d5a6c-boot-2\n")
    machine.boot()
    assert machine.was_loaded
    assert machine.state["result"] == "loaded"


def test_result_that_cannot_be_recorded(machine: Machine) -> None:
    machine.write("run", "a file where the folder should be")
    assert machine.boot() == ""
    assert machine.was_loaded
    unrecorded = "<3>kdumpd: result not recorded: cannot write run/kdumpd/load\n"
    assert machine.read("kmsg") == unrecorded + LOADED
    machine.boot()
    assert machine.read("kmsg").endswith(ALREADY)


def test_kexec_that_cannot_be_forbidden(machine: Machine) -> None:
    (machine.root / "load_disabled").unlink()
    (machine.root / "load_disabled").mkdir()
    assert machine.boot() == ""
    assert machine.read("kmsg").splitlines() == [
        "<3>kdumpd: further kexec not forbidden: cannot write load_disabled",
        LOADED.strip(),
    ]


def test_without_a_kernel_log_the_terminal_is_told(machine: Machine) -> None:
    assert machine.boot(KDUMPD_KMSG="no/such/kmsg") == LOADED.removeprefix("<6>")


def test_state_is_readable_by_everybody(machine: Machine) -> None:
    before = os.umask(0o077)
    try:
        machine.boot()
    finally:
        os.umask(before)
    assert (machine.root / "run/kdumpd").stat().st_mode & 0o777 == 0o755
    assert (machine.root / "run/kdumpd/load").stat().st_mode & 0o777 == 0o644


def test_script_is_executable_and_clean_under_shellcheck() -> None:
    assert os.access(SCRIPT, os.X_OK)
    done = subprocess.run(["shellcheck", "--shell=sh", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
