"""The whole run with a final phase of one's own: a fleet server is told, then the machine restarts.

Run it in a capture kernel:  python examples/notify_then_reboot.py https://fleet.example/crashes
"""

import json
import sys
import urllib.request
from collections.abc import Awaitable, Callable

import trio

import kdumpd

NOTIFY_S = 10

Send = Callable[[bytes], Awaitable[None]]


def send_to(url: str) -> Send:
    """How a message gets to the server."""

    def post(message: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data=message, headers=headers)  # noqa: S310 the operator's own
        urllib.request.urlopen(request, timeout=NOTIFY_S).close()  # noqa: S310

    async def send(message: bytes) -> None:
        await trio.to_thread.run_sync(post, message, abandon_on_cancel=True)

    return send


async def collect(send: Send, machine: kdumpd.Machine | None = None) -> None:
    """Collect the crash; then tell, and restart whether that worked or not."""

    async def notify_then_restart(ending: kdumpd.FinishContext) -> None:
        record = ending.outcome.record
        message = {"reason": ending.outcome.reason, "fingerprint": record.fingerprint}
        try:
            with trio.fail_after(NOTIFY_S):
                await send(json.dumps(message).encode())
        except (OSError, trio.TooSlowError) as error:
            ending.say(f"the fleet server was not told: {str(error) or 'timeout'}")
        await kdumpd.restart_machine(ending)

    await kdumpd.supervise(kdumpd.load_config(), machine=machine, finish=notify_then_restart)


if __name__ == "__main__":
    trio.run(collect, send_to(sys.argv[1]))
