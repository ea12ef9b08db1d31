"""kdumpd as EVE would have it: the root of its image on a disk of its own."""

import shutil
import subprocess
from pathlib import Path

import attrs

from . import cache

REPOSITORY = Path(__file__).parents[2]


@attrs.frozen(kw_only=True)
class App:
    """The image's root as a disk, and the image."""

    disk: Path
    archive: Path


def app() -> App:
    """kdumpd's image, built if its inputs have changed. Needs root."""
    built = subprocess.run([REPOSITORY / "scripts/image"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise RuntimeError(f"scripts/image: exit status {built.returncode}")
    files = {file.name: file for file in (Path(line.split()[0]) for line in built.stdout.splitlines())}
    folder = files["kdumpd.squashfs"].parent
    # the lock that scripts/image builds under
    with cache.locked(cache.home() / "buildah.lock"):
        cache.use(folder)
        cache.forget_older(cache.kind(folder))
        for unfinished in cache.home().glob(f"{cache.kind(folder)}-*.part"):
            shutil.rmtree(unfinished)
    return App(disk=files["kdumpd.squashfs"], archive=files["kdumpd.oci.tar"])
