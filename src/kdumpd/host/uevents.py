"""Device events: a tick for each change of a block device, from udev, the kernel, or raw netlink.

``udev`` and ``kernel`` are pyudev's two sources; ``netlink`` is a plain socket, for root file systems without
libudev, or with a libc on which pyudev does not find it. An event says only "look again": the state is read
from sysfs, which needs neither udev nor its database.
"""

import os
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, Protocol

import trio
from attrs import frozen

from kdumpd.errors import FormatError

UDEV_CONTROL = Path("/run/udev/control")
NO_SOURCE = "none"

Source = Literal["udev", "kernel", "netlink"]

_SUBSYSTEM = "block"
_KOBJECT_UEVENT = 15  # NETLINK_KOBJECT_UEVENT, include/uapi/linux/netlink.h; the socket module lacks it
_KERNEL_GROUP = 1  # the kernel's own multicast group; udevd re-sends on group 2
_MESSAGE_BYTES = 8192  # a uevent's path and its UEVENT_BUFFER_SIZE of 2048, with room to spare
_RECOVERY_S = 0.1
# Unread events take kernel memory, of which a capture kernel has little; libudev asks for 128 MiB
# (sd-device/device-monitor.c). This holds a hundred events or more, and a lost one costs no more than a tick.
_BUFFER_BYTES = 128 << 10


# When the socket overruns
# ------------------------
#
# Device events come through a netlink socket, by multicast: the kernel does not wait for a slow reader.
# Where the receive buffer is full it drops the event, marks the socket as congested, and has the next read
# fail with ENOBUFS (netlink_overrun() in net/netlink/af_netlink.c). Until the buffer has been read empty it
# drops whatever else comes.
#
# What was lost cannot be asked for again. It need not be: an event is only a tick here, and the state is read
# from sysfs after it. So an overrun costs one tick more:
#
#   1. close the socket, since libudev does not get past the error: pyudev's poll() raises an OSError without
#      an errno from then on, for ever (measured, pyudev 0.24);
#   2. wait 0.1 s, or a flood would have us open sockets and do nothing else;
#   3. open another, and only then tick, so that the reader looks after the new watch is on. A change between
#      closing and opening is in what it reads.
#
# The buffer is kept small on purpose, see _BUFFER_BYTES.


@frozen(kw_only=True)
class Partition:
    """A partition that the kernel has found."""

    device: str
    """Its node, ``/dev/vdb1``."""
    label: str


def find_partition(label: str, *, sysfs: Path = Path("/sys")) -> Partition | None:
    """Find the partition with this GPT label, the first by device name if there are several.

    The kernel itself tells the label (block/partitions/core.c, ``part_uevent()``).
    """
    for file in sorted(sysfs.glob("class/block/*/uevent")):
        # A device may vanish meanwhile.
        with suppress(OSError):
            properties = _parse_properties(file.read_bytes().split(b"\n"))
            if properties.get("PARTNAME") == label and "DEVNAME" in properties:
                return Partition(device=f"/dev/{properties['DEVNAME']}", label=label)
    return None


def parse_uevent(message: bytes) -> dict[str, str]:
    """Read one message of the kernel: ``ACTION@DEVPATH``, then ``KEY=VALUE``, each ended by a NUL.

    Returns the properties (lib/kobject_uevent.c, ``kobject_uevent_env()``).

    Raises:
        FormatError: it is something else, such as udevd's own format.
    """
    header, *properties = message.split(b"\0")
    action, at, path = header.partition(b"@")
    if not (action and at and path.startswith(b"/")):
        raise FormatError("device event: no ACTION@DEVPATH in front")
    return _parse_properties(properties)


def _parse_properties(lines: list[bytes]) -> dict[str, str]:
    pairs = (os.fsdecode(line).partition("=") for line in lines)
    return {key: value for key, equals, value in pairs if equals}


class _Monitor(Protocol):
    """An open source of events."""

    def fileno(self) -> int: ...

    def drain(self) -> bool:
        """Read what has come; whether a block device was in it. Raises OSError when events were lost."""
        ...

    def close(self) -> None: ...


class _UdevMonitor:
    """Events through libudev; the library's own filter lets only block devices through."""

    def __init__(self, source: str, receive_buffer_bytes: int) -> None:
        # Imported late: it costs time and memory, and fails without libudev.
        import pyudev  # noqa: PLC0415

        self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source=source)
        self._monitor.filter_by(_SUBSYSTEM)
        with suppress(OSError):  # older versions use SO_RCVBUFFORCE, which takes a capability
            self._monitor.set_receive_buffer_size(receive_buffer_bytes)
        self._monitor.start()

    def fileno(self) -> int:
        return int(self._monitor.fileno())

    def drain(self) -> bool:
        seen = False
        while self._monitor.poll(timeout=0) is not None:
            seen = True
        return seen

    def close(self) -> None:
        del self._monitor  # the last reference closes the socket


class _NetlinkMonitor:
    """Events straight from the kernel."""

    def __init__(self, receive_buffer_bytes: int) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _KOBJECT_UEVENT)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.bind((0, _KERNEL_GROUP))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        seen = False
        with suppress(BlockingIOError):
            while True:
                seen |= _is_block_event(self._socket.recv(_MESSAGE_BYTES))
        return seen

    def close(self) -> None:
        self._socket.close()


def _is_block_event(message: bytes) -> bool:
    with suppress(FormatError):
        return parse_uevent(message).get("SUBSYSTEM") == _SUBSYSTEM
    return False


def _open(source: Source | None, control: Path, receive_buffer_bytes: int) -> tuple[str, _Monitor | None]:
    """Open the first source that works; return its name too."""
    best: Source = "udev" if control.exists() else "kernel"
    for name in (source,) if source else (best, "netlink"):
        # AttributeError: what ctypes raises where libudev lacks a function.
        with suppress(ImportError, OSError, AttributeError):
            if name == "netlink":
                return name, _NetlinkMonitor(receive_buffer_bytes)
            return name, _UdevMonitor(name, receive_buffer_bytes)
    return NO_SOURCE, None


async def watch_devices(
    tick: Callable[[], None],
    *,
    source: Source | None = None,
    control: Path = UDEV_CONTROL,
    receive_buffer_bytes: int = _BUFFER_BYTES,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Call ``tick`` after each change of a block device; made for ``nursery.start``.

    When ``start`` returns the watch is on; it returns the source in use: ``udev``, ``kernel``, ``netlink``,
    or ``none``, with which no tick ever comes. Changes close together may share a tick. Where events were
    lost, one tick stands for all of them. A udevd that dies leaves ``udev`` silent, without an error.

    Args:
        tick: must not wait.
        source: the only source to try. By default ``udev`` if udevd runs, else ``kernel``; else ``netlink``.
        control: udevd's control socket: there while it runs. Without udevd, source ``udev`` would be silent.
        receive_buffer_bytes: of the socket, for events not read yet; the kernel doubles it.
        task_status: given by ``nursery.start``.
    """
    # In a thread: pyudev's import reads the disk and runs ldconfig, which must not hold up the event loop.
    reopen = partial(
        trio.to_thread.run_sync, _open, source, control, receive_buffer_bytes, abandon_on_cancel=True
    )
    name, monitor = await reopen()
    task_status.started(name)
    while monitor is not None:
        await _tick_until_overrun(monitor, tick)
        # Not at once: see above.
        await trio.sleep(_RECOVERY_S)
        _, monitor = await reopen()
        tick()
    await trio.sleep_forever()


async def _tick_until_overrun(monitor: _Monitor, tick: Callable[[], None]) -> None:
    """Tick for events until the socket overruns."""
    with closing(monitor):
        while True:
            await trio.lowlevel.wait_readable(monitor)
            try:
                seen = monitor.drain()
            except OSError:
                return
            if seen:
                tick()
