"""One QEMU from power-on to its end: the serial console line by line, and QMP when the guest asks for it."""

import json
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

# what the guest asks for: a QMP command, then perhaps its arguments as JSON
QMP_REQUEST = "vm: qmp "


@attrs.frozen(kw_only=True)
class SerialLine:
    """A line of the serial console, and how long after power-on it was complete."""

    time_s: float
    text: str


@attrs.frozen(kw_only=True)
class Hardware:
    """What the machine is made of. Disks are (serial, file, writable).

    `write_log` is where every write and flush of the writable disk goes, in dm-log-writes' format.
    """

    memory_bytes: int
    kernel: Path
    initramfs: Path
    command_line: str
    disks: Sequence[tuple[str, Path, bool]]
    devices: Sequence[str] = ()
    write_log: Path | None = None


@attrs.frozen(kw_only=True)
class BootEnd:
    """The console, and why QEMU ended: its own word (guest-reset, guest-shutdown), timeout, or stuck.

    QEMU's own events are lines of the console: "qemu: RESET", "qemu: WATCHDOG" and the like.
    """

    console: tuple[SerialLine, ...]
    reason: str


def boot(
    hardware: Hardware, *, begin: str, begin_s: float, limit_s: float, watch: Callable[[SerialLine], None]
) -> BootEnd:
    """Run a machine until it resets, powers off, or the time is over; `watch` is given each line at once.

    A machine that has not said `begin` after `begin_s` is stuck, and is run no longer.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, _start(hardware, theirs) as process:
        try:
            theirs.close()
            return _Session(process, ours, watch).follow(begin, begin_s, limit_s)
        finally:
            process.kill()


def _start(hardware: Hardware, qmp: socket.socket) -> subprocess.Popen[bytes]:
    # no KVM; -no-reboot ends QEMU where the machine would start over; killed with whoever started it
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]
        + ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", f"{hardware.memory_bytes}B"]
        # a guest may have more RAM than this machine: none of it is reserved
        + ["-object", f"memory-backend-ram,id=ram,size={hardware.memory_bytes}B,reserve=off"]
        + ["-machine", "pc,memory-backend=ram"]
        + ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]
        + ["-chardev", f"socket,id=qmp,fd={qmp.fileno()}", "-mon", "chardev=qmp,mode=control"]
        + [
            "-kernel",
            str(hardware.kernel),
            "-initrd",
            str(hardware.initramfs),
            "-append",
            hardware.command_line,
        ]
        + [word for disk in hardware.disks for word in _disk(*disk, hardware.write_log)]
        + [word for device in hardware.devices for word in ("-device", device)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[qmp.fileno()],
    )


def _disk(serial: str, file: Path, writable: bool, write_log: Path | None) -> list[str]:
    # the host does not crash, so a flush of the guest need not reach the host's disk
    raw = f"driver=file,filename={file},cache.no-flush=on,read-only={'off' if writable else 'on'}"
    node = ["-blockdev", f"{raw},node-name={serial}"]
    if writable and write_log is not None:
        log = f"driver=file,filename={write_log},cache.no-flush=on,node-name={serial}-log"
        logged = f"driver=blklogwrites,node-name={serial},file={serial}-file,log={serial}-log"
        node = ["-blockdev", f"{raw},node-name={serial}-file", "-blockdev", log, "-blockdev", logged]
    return [*node, "-device", f"virtio-blk-pci,id=disk-{serial},drive={serial},serial={serial}"]


class _Session:
    """What is known of a running QEMU."""

    def __init__(
        self, process: subprocess.Popen[bytes], qmp: socket.socket, watch: Callable[[SerialLine], None]
    ) -> None:
        self.started_s = time.monotonic()
        self.process = process
        self.qmp = qmp
        self.watch = watch
        self.console: list[SerialLine] = []
        self.reason = "unknown"
        self.partial: dict[int, bytes] = {}
        self._execute("qmp_capabilities")

    def follow(self, begin: str, begin_s: float, limit_s: float) -> BootEnd:
        """Read the console and QMP until both are at their end."""
        begun = False
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ, self._console_line)
            selector.register(self.qmp, selectors.EVENT_READ, self._qmp_line)
            while selector.get_map():
                begun = begun or self._said(begin)
                remaining_s = self.started_s + (limit_s if begun else begin_s) - time.monotonic()
                if remaining_s <= 0:
                    return BootEnd(console=tuple(self.console), reason="timeout" if begun else "stuck")
                for key, _ in selector.select(remaining_s):
                    if not self._read(key.fd, key.data):
                        selector.unregister(key.fileobj)
        # an emulated kernel that died before it came to our scripts is no better than one that hangs
        return BootEnd(console=tuple(self.console), reason=self.reason if self._said(begin) else "stuck")

    def _said(self, begin: str) -> bool:
        return any(line.text.startswith(begin) for line in self.console)

    def _read(self, fd: int, take: Callable[[str], None]) -> bool:
        try:
            data = os.read(fd, 65536)
        except ConnectionResetError:  # QEMU ended before it had read all that was sent to it
            data = b""
        *lines, self.partial[fd] = (self.partial.get(fd, b"") + data).split(b"\n")
        for line in lines:
            take(line.decode(errors="replace").rstrip("\r"))
        return bool(data)

    def _console_line(self, text: str) -> None:
        line = SerialLine(time_s=time.monotonic() - self.started_s, text=text)
        self.console.append(line)
        self.watch(line)
        if text.startswith(QMP_REQUEST):
            command, _, arguments = text.removeprefix(QMP_REQUEST).partition(" ")
            self._execute(command, **json.loads(arguments or "{}"))

    def _qmp_line(self, text: str) -> None:
        message = json.loads(text)
        event = message.get("event")
        if event:
            self._console_line(f"qemu: {event}")
        if event == "SHUTDOWN":
            self.reason = message["data"]["reason"]
        if "error" in message:
            self._console_line(f"qemu: {message['error']['desc']}")

    def _execute(self, command: str, **arguments: object) -> None:
        request = {"execute": command, "arguments": arguments}
        self.qmp.sendall(json.dumps(request).encode() + b"\n")
