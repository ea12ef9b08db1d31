"""A bundle's config.json, as linuxkit makes it of etc/linuxkit/build.yml and of the image's own settings.

The defaults and their order are those of linuxkit's src/cmd/linuxkit/moby/config.go, ConfigToOCI().
"""

import json
import tarfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it comes without types

Json = dict[str, Any]
ROOT = "/app"
BUILD_YML = Path(__file__).parents[2] / "etc/linuxkit/build.yml"
DEFAULT_MOUNTS = {
    "/dev/pts": ("devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    "/sys": ("sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    "/sys/fs/cgroup": ("cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
}


def config(archive: Path, *, binds: Sequence[str] = (), without: Collection[str] = ()) -> Json:
    """The bundle's settings.

    Args:
        archive: the image, an OCI archive.
        binds: more of them, as `binds.add` in EVE's rootfs.yml would give.
        without: capabilities that are taken away.
    """
    settings = yaml.safe_load(BUILD_YML.read_text())["config"]
    image = image_settings(archive)
    capabilities = [name for name in settings["capabilities"] if name not in without]
    sets = dict.fromkeys(("bounding", "effective", "inheritable", "permitted"), capabilities)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": image["Entrypoint"],
            "env": image["Env"],
            "cwd": "/",
            "capabilities": sets,
            "noNewPrivileges": settings["noNewPrivileges"],
            "oomScoreAdj": settings["oomScoreAdj"],
        },
        "root": {"path": ROOT, "readonly": settings["readonly"]},
        "mounts": _mounts(settings["tmpfs"], [*settings["binds"], *binds]),
        "linux": {
            "namespaces": _namespaces(settings),
            "rootfsPropagation": settings["rootfsPropagation"],
            "resources": {"devices": [_device(device) for device in settings["devices"]]},
        },
    }


def image_settings(archive: Path) -> Json:
    """What the image says of how to run it."""
    with tarfile.open(archive) as tar:

        def load(name: str) -> Json:
            file = tar.extractfile(name)
            assert file is not None
            loaded: Json = json.load(file)
            return loaded

        manifest = load(_blob(load("index.json")["manifests"][0]))
        settings: Json = load(_blob(manifest["config"]))["config"]
        return settings


def _blob(descriptor: Json) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _mounts(tmpfs: Sequence[str], binds: Sequence[str]) -> list[Json]:
    mounts = {path: _mount(path, kind, kind, options) for path, (kind, options) in DEFAULT_MOUNTS.items()}
    for entry in tmpfs:
        path, options = entry.split(":")
        mounts[path] = _mount(path, "tmpfs", "tmpfs", options.split(","))
    for bind in binds:
        source, path, *given = bind.split(":")
        words = [*given[0].split(","), "rbind"] if given else ["rw", "rbind", "rshared"]
        mounts[path] = _mount(path, "bind", source, words)
    return [mounts[path] for path in sorted(mounts)]


def _mount(path: str, kind: str, source: str, options: Sequence[str]) -> Json:
    return {"destination": path, "type": kind, "source": source, "options": list(options)}


def _namespaces(settings: Json) -> list[Json]:
    assert (settings["net"], settings["pid"]) == ("new", "host")
    return [{"type": "network"}, {"type": "mount"}]


def _device(device: Json) -> Json:
    assert device["path"] == "all"
    return {"allow": True, "type": device["type"], "access": "rwm"}
