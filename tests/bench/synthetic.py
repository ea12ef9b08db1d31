"""A vmcore of any size: a recorded one, and after it as much zeroed memory, sparse, as is asked for."""

import struct
import subprocess
from pathlib import Path

GIB = 1 << 30
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


def enlarge(vmcore: Path, target: Path, *, size_bytes: int) -> None:
    """Write `vmcore` to `target`, its last segment of memory grown until the file has `size_bytes`.

    The file stays sparse; makedumpfile sees RAM up there, and finds zeros (level 1 leaves them out).
    """
    subprocess.run(["cp", "--sparse=always", vmcore, target], check=True)
    with target.open("r+b") as file:
        header = file.read(64)
        offset, count = struct.unpack_from("<Q", header, 32)[0], struct.unpack_from("<H", header, 56)[0]
        offsets = [offset + index * _PROGRAM_HEADER.size for index in range(count)]
        segments = []
        for offset in offsets:
            file.seek(offset)
            segments.append((offset, list(_PROGRAM_HEADER.unpack(file.read(_PROGRAM_HEADER.size)))))
        offset, last = max(segments, key=lambda segment: segment[1][2] + segment[1][5])
        grown = size_bytes - (last[2] + last[5])
        if grown > 0:
            last[5] += grown
            last[6] += grown
            file.seek(offset)
            file.write(_PROGRAM_HEADER.pack(*last))
            file.truncate(last[2] + last[5])
