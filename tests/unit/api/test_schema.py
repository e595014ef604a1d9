"""The API against its own description: a few hundred generated requests, the same in every run, find no 5xx and no answer that the
description does not allow (tests/fault/test_schema_long.py makes thousands)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests import fuzzing
from tests.unit.api.parts import FILES, Parts

EVERYTHING = """
all:
  scopes: [send, read, "read:all", groups, customers, "read:customers", inbox, subscribe, admin]
  categories: ['*']
  defaults: {account: hotline, category: transactional}
"""


@pytest.mark.timeout(900)
async def test_the_api_keeps_to_its_description(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    await parts.start({"callers.yaml": FILES["callers.yaml"] + EVERYTHING})
    try:
        child = await asyncio.create_subprocess_exec(
            *fuzzing.command(
                str(parts.client.make_url("")).rstrip("/"), await parts.key("all"), examples=5
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        said, _ = await child.communicate()
    finally:
        await parts.close()
    probed = fuzzing.read(child.returncode or 0, said.decode())
    assert probed.status == 0, probed.told
    assert probed.cases >= 250, probed.told
