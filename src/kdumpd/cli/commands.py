"""What the commands for a person do: list, show, prune, export, decrypt, analyze. Each returns its text."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from kdumpd.cli import listing
from kdumpd.config import load_config
from kdumpd.crashes import archive, bundle
from kdumpd.crashes.artefacts import expired, over_limit
from kdumpd.crashes.inventory import Crash, find_crash, left_over, read_folder
from kdumpd.errors import ConfigError, StorageError, trouble
from kdumpd.host.folder import Folder, is_temporary
from kdumpd.storage.volume import retained_bytes
from kdumpd.text import json_text, size


def list_crashes(location: Path | None, *, as_json: bool) -> str:
    """The crashes in a folder or bundle."""
    with _folder(location) as folder:
        crashes, halves = read_folder(folder), left_over(folder)
    if as_json:
        return json_text({"crashes": listing.overview(crashes), "left_over": listing.files(halves)})
    table = listing.table(crashes) if crashes else f"no crash in {location or folder}"
    return "\n".join([table, *listing.of_interrupted_runs(halves)])


def show(name: str, folder: Path | None, *, as_json: bool) -> str:
    """One crash in full."""
    with found(name, folder) as crash:
        seen = _seen(crash)
    return json_text(listing.full(crash, seen)) if as_json else listing.details(crash, seen)


def prune(location: Path | None, *, dumps: int | None, logs: int | None, dry_run: bool, as_json: bool) -> str:
    """Remove the oldest artefacts, as the daemon does after a run, and what interrupted runs left."""
    retention = load_config().retention
    path = location or default_folder()
    folder = Folder.open(str(path))
    try:
        sizes_bytes = {entry.name: entry.size_bytes for entry in folder.entries()}
        gone = expired(
            sizes_bytes,
            dumps=retention.dumps if dumps is None else dumps,
            logs=retention.logs if logs is None else logs,
        )
        limit_bytes = retained_bytes(retention, folder.space())
        if limit_bytes is not None:
            left = {name: size_bytes for name, size_bytes in sizes_bytes.items() if name not in gone}
            gone += over_limit(left, limit_bytes)
        gone += [name for name in sizes_bytes if is_temporary(name)]
        for name in () if dry_run else gone:
            folder.remove(name)
        folder.sync()
    except OSError as error:
        raise StorageError(f"{path}: {trouble(error)}") from error
    finally:
        folder.close()
    if as_json:
        return json_text({"folder": str(path), "removed": [] if dry_run else gone, "surplus": gone})
    verb = "would remove" if dry_run else "removed"
    return "\n".join(f"{verb} {path / name}" for name in gone) or f"nothing to remove in {path}"


def export(name: str, folder: Path | None, target: Path, *, as_json: bool) -> str:
    """Write one crash into a bundle."""
    with found(name, folder) as crash:
        bundle.export(crash, target)
    size_bytes = target.stat().st_size
    if as_json:
        return json_text({"stamp": crash.stamp, "bundle": str(target), "size_bytes": size_bytes})
    return f"{crash.stamp}: {target}, {size(size_bytes)}"


def decrypt(name: str, folder: Path | None, target: Path | None, *, identity: Path, as_json: bool) -> str:
    """Make a dump of an encrypted stream, with the private key."""
    try:
        from kdumpd.analysis import decrypt as decryption  # noqa: PLC0415 the daemon never needs it
    except ImportError as error:
        raise ConfigError("decrypt is not in the device's image: private keys belong elsewhere") from error
    source = Path(name)
    if not source.exists() and "/" not in name:
        source = (folder or default_folder()) / f"kdump-{name}{decryption.SUFFIX}"
    target = target or decryption.decrypted_name(source)
    check = decryption.decrypt(source, identity, target)
    if as_json:
        return json_text({"dump": str(target), "complete": check.complete, "size_bytes": check.size_bytes})
    state = "complete" if check.complete else "incomplete"
    return f"{target}: {state}, {check.pages} pages, {size(check.size_bytes)}"


def analyze(
    name: str,
    folder: Path | None,
    *,
    debug: Path,
    reader: str,
    shell: bool,
    html: Path | None,
    as_json: bool,
) -> str | None:
    """Open one crash's dump and tell what is in it; None when a shell was all that was asked for."""
    if reader == "crash" and html:
        raise ConfigError("--html needs drgn: leave out --with crash")
    try:
        from kdumpd.analysis import command  # noqa: PLC0415 an extra brings what it imports

        with found(name, folder) as crash:
            if shell:
                command.shell(crash, debug, reader=reader)
                return None
            if reader == "crash":
                return command.with_crash(crash, debug, as_json=as_json)
            return command.with_drgn(crash, debug, html=html, as_json=as_json)
    except ImportError as error:
        raise ConfigError(f"analyze needs {error.name}: pip install 'kdumpd[analysis]'") from error


def default_folder() -> Path:
    """The crash folder of this machine's configuration."""
    config = load_config()
    return Path(config.storage.mountpoint) / config.dump.directory


@contextlib.contextmanager
def found(name: str, folder: Path | None) -> Iterator[Crash]:
    """One crash: by its stamp or ``latest`` in the folder, or by a path to its files, folder or bundle."""
    path = Path(name)
    if path.is_file() and archive.is_archive(path):
        with bundle.opened(path) as inside:
            yield find_crash(str(inside), inside)
    else:
        with _folder(folder) if not path.exists() else contextlib.nullcontext(path) as location:
            yield find_crash(name, location)


@contextlib.contextmanager
def _folder(location: Path | None) -> Iterator[Path]:
    """A folder of crashes; that of a bundle is there until the ``with`` ends."""
    if location is not None and location.is_file():
        with bundle.opened(location) as folder:
            yield folder
    else:
        yield location or default_folder()


def _seen(crash: Crash) -> list[str]:
    """The stamps of the crashes beside it that have its fingerprint, newest first."""
    folder = next(iter(crash.files.values())).path.parent
    fingerprint = crash.record.fingerprint
    return [
        other.stamp
        for other in read_folder(folder)
        if fingerprint and other.record.fingerprint == fingerprint
    ]


COMMANDS: Final[Mapping[str, Callable[..., str | None]]] = {
    "list": list_crashes,
    "show": show,
    "prune": prune,
    "export": export,
    "decrypt": decrypt,
    "analyze": analyze,
}
"""Each command by its name; its parameters are the options in ``arguments``."""
