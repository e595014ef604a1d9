"""Thousands of generated requests against the running sandbox: no 5xx, no answer that /openapi.json does not allow."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import fuzzing
from tests.flow.sandboxed import Sandbox


@pytest.mark.fault
@pytest.mark.timeout(3600)
def test_the_sandbox_keeps_to_its_description(tmp_path: Path) -> None:
    with Sandbox(tmp_path) as sandbox:
        key = (sandbox.data / "sandbox.key").read_text().strip()
        run = subprocess.run(
            fuzzing.command(f"http://127.0.0.1:{sandbox.port}", key, examples=120),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    probed = fuzzing.read(run.returncode, run.stdout)
    assert probed.status == 0, probed.told
    assert probed.cases >= 5000, probed.told
