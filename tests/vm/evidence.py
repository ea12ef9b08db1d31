"""What a capture run left on /persist, read from outside and held against DESIGN.md's table."""

import json
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import drgn

from . import makedumpfile
from .scenario import Run

BEGIN = "-------- BEGIN kernel panic --------"
END = "-------- END kernel panic --------"


@attrs.define(kw_only=True, slots=False)
class Evidence:
    """A run, and a copy of the files that it left on P3."""

    run: Run
    root: Path

    @classmethod
    def of(cls, run: Run, folder: Path) -> "Evidence":
        """Copy P3 into a new folder."""
        return cls(run=run, root=run.persist.extract(folder))

    @property
    def files(self) -> dict[str, str]:
        """Every path on P3 with its mode; a folder's ends in a slash."""
        paths = [path for path in self.root.rglob("*") if path.name != "lost+found"]
        return {
            f"{path.relative_to(self.root)}{'/' * path.is_dir()}": f"{path.stat().st_mode & 0o7777:04o}"
            for path in paths
        }

    @property
    def dump(self) -> Path:
        """The one dump."""
        (path,) = self.root.glob("kcrashes/kdump-*.dump")
        return path

    @property
    def record(self) -> dict[str, Any]:
        """The one crash record."""
        (path,) = self.root.glob("kcrashes/crash-*.json")
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    @cached_property
    def vmcoreinfo(self) -> dict[str, str]:
        """VMCOREINFO as drgn finds it in the dump."""
        program = drgn.Program()
        program.set_core_dump(self.dump)
        lines = program["VMCOREINFO"].string_().decode().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def crash_time_s(self) -> int:
        return int(self.vmcoreinfo["CRASHTIME"])

    @property
    def stamp(self) -> str:
        return datetime.fromtimestamp(self.crash_time_s, UTC).strftime("%Y%m%dT%H%M%SZ")

    @property
    def panic_text(self) -> str:
        """What kdumpd showed on the console of the crashed kernel's last words."""
        lines = [line.text for line in self.run.console]
        assert BEGIN in lines, self.run.text
        assert END in lines, self.run.text
        return "\n".join(lines[lines.index(BEGIN) + 1 : lines.index(END)])

    def log(self, folder: Path) -> bytes:
        """The crashed kernel's log, as makedumpfile finds it in the dump."""
        makedumpfile.run_here("--dump-dmesg", str(self.dump), str(folder / "log"))
        return (folder / "log").read_bytes()
