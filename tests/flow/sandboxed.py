"""`msgcenter sandbox` as a process of a test, on free ports and a data folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.process import Process, free_port

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "msgcenter"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Sandbox(Process):
    """Up once its walk-through is over. `data` is its data folder, `told` what it has printed."""

    name = "sandbox"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.data = directory / "data"
        self.port, self.sim_port = free_port(), free_port()

    @property
    def told(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def start(self) -> Self:
        before = len(self.told)
        argv = [*COMMAND, "sandbox", "--data", str(self.data)]
        argv += ["--port", str(self.port), "--sim-port", str(self.sim_port)]
        self._launch(argv, lambda: "until Ctrl-C. Try:" in self.told[before:], ENVIRONMENT)
        return self

    def stop(self) -> None:
        self._signal(signal.SIGINT)


def once(
    data: Path, *, port: int | None = None, sim_port: int | None = None
) -> subprocess.CompletedProcess[str]:
    """`msgcenter sandbox --once`, to its end."""
    ports = ["--port", str(port or free_port()), "--sim-port", str(sim_port or free_port())]
    return subprocess.run(
        [*COMMAND, "sandbox", "--once", "--data", str(data), *ports],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, **ENVIRONMENT},
        cwd=data.parent,
    )
