"""A service that keeps its state on /persist: it waits for the storage, and says meanwhile what is missing.

Run it as it is:  python examples/wait_for_storage.py
"""

import sys
from contextlib import closing

import trio

import kdumpd

TIMEOUT_S = 60


async def load_state(machine: kdumpd.Machine | None = None) -> str:
    """Open the storage when it is ready, and count this start in a file there."""
    with trio.fail_after(TIMEOUT_S):
        storage = await kdumpd.wait_for_storage(machine=machine, tell=print)
    with closing(storage):
        print(f"{storage.mount.source} has {storage.space.free_bytes >> 20} MiB free")
        await kdumpd.commit_file(f"{storage.folder.path}/last-start", b"now\n", machine=machine)
        return storage.mount.source


if __name__ == "__main__":
    try:
        trio.run(load_state)
    except trio.TooSlowError:
        sys.exit(f"no storage within {TIMEOUT_S} s")
