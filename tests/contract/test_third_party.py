"""A channel kind from a separate package: found by entry point, in the contract suite, without a
change to the core.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: The package of docs/adapter-guide.md: what the guide shows is what the suite judges.
ADAPTER = "\n\n".join(
    re.findall(
        r"^```python\n(.*?)^```$",
        (ROOT / "docs" / "adapter-guide.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)
WITH_RIG = """
[msgcenter.adapters]
acme = acme_boards:Acme

[msgcenter.rigs]
acme = acme_boards:Rig
"""
WITHOUT_RIG = """
[msgcenter.adapters]
acme = acme_boards:Acme
"""


def install(folder: Path, points: str, source: str = ADAPTER) -> None:
    """Lay the package out as an installer would."""
    info = folder / "acme_boards-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "acme_boards.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-boards\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def run_suite(folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT)])
    # fmt: off
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "acme",
               "tests/contract/test_adapter.py"]
    # fmt: on
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_separate_package_passes_the_suite(tmp_path: Path) -> None:
    install(tmp_path, WITH_RIG)
    done = run_suite(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 8


def test_an_adapter_without_a_rig_fails_it(tmp_path: Path) -> None:
    install(tmp_path, WITHOUT_RIG)
    done = run_suite(tmp_path)
    assert done.returncode == 1
    assert "adapter acme has no rig" in done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "test"),
    [
        ('return Unknown(type(error).__name__)', 'return Sent()', "a_lost_answer_is_unknown"),
        ('idempotent=True', 'resolves=True', "spec_is_truthful"),
        ('"unknown_board")', '"")', "refused_recipient"),
        ('for item in batch]))', 'for item in batch[1:]]))', "one_outcome_each"),
        ('"key": item.token', '"key": str(id(data_of))', "repeat_has_one_effect"),
    ],
)  # fmt: skip
def test_the_suite_finds_what_is_wrong(tmp_path: Path, right: str, wrong: str, test: str) -> None:
    source = ADAPTER.replace(right, wrong).replace(
        "str(id(data_of))", "str(asyncio.current_task())"
    )
    assert source != ADAPTER
    install(tmp_path, WITH_RIG, source)
    done = run_suite(tmp_path)
    assert done.returncode == 1, done.stdout[-2000:]
    assert re.search(rf"FAILED .*{test}", done.stdout), done.stdout[-2000:]
