"""The far end of a bench run: the SMSC simulator in a process of its own, its journal counted in a small shared file.

`python -m bench.far_end PORT COUNTS`: serves CMPP 2.0 until it is killed. COUNTS is a file of three 64-bit numbers: messages in
the journal, different texts among them, and 1 once it listens. Receipts are off: neither side of the comparison has them.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.sim.smsc import Options, Smsc
from msgcenter.simulator import Journal

ACCOUNT = "901234"
SECRET = "bench"
WINDOW = 64
_COUNTS = struct.Struct("<QQQ")


class Counts:
    """The shared file, read side: `total`, `distinct` and `ready`."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(_COUNTS.pack(0, 0, 0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _COUNTS.size)

    @property
    def total(self) -> int:
        return int(_COUNTS.unpack_from(self._map)[0])

    @property
    def distinct(self) -> int:
        return int(_COUNTS.unpack_from(self._map)[1])

    @property
    def ready(self) -> bool:
        return bool(_COUNTS.unpack_from(self._map)[2])


async def serve(port: int, path: Path) -> None:
    """Listen on `port` for ever."""
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), _COUNTS.size)
    journal = Journal(keep=1000)
    texts: set[str] = set()

    def count(entry: Mapping[str, Any]) -> None:
        texts.add(entry["text"])
        _COUNTS.pack_into(shared, 0, journal.total, len(texts), 1)

    journal.watch(count)
    options = Options.model_validate(
        {
            "protocol": "cmpp2",
            "port": port,
            "account": ACCOUNT,
            "secret": SECRET,
            "window": WINDOW,
            "keep_submits": 1000,
        }
    )
    smsc = Smsc(options, journal)
    smsc.faults.drop_reports = 1.0
    await smsc.start()
    _COUNTS.pack_into(shared, 0, 0, 0, 1)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
