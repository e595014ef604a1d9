"""The garbage collector of a served process: it does not walk what lives as long as the process, however that was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.deployment import ROOT

SERVED = """
import asyncio, gc, os, signal, sys
from pathlib import Path
from msgcenter.serve import Process

class Short(Process):
    async def start(self):
        await super().start()
        asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)

env = {"MSGCENTER__DATA": sys.argv[1], "MSGCENTER__API__PORT": "0"}
asyncio.run(Short(None, env=env).run_until_signalled())
print(gc.get_freeze_count(), *gc.get_threshold())
"""


@pytest.mark.timeout(60)
def test_a_served_process_collects_seldom_and_little(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVED, str(tmp_path / "data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    frozen, youngest, *_ = map(int, done.stdout.split()[-4:])
    assert frozen > 100_000
    assert youngest > 10_000
