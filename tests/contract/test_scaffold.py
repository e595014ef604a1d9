"""`msgcenter adapter new`: the package it writes is installed beside the product and passes the contract suite as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(*args: str, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    env["PYTHONPATH"] = os.pathsep.join(part for part in (path, str(ROOT)) if part)
    return subprocess.run(
        [sys.executable, "-m", *args],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def installed(home: Path) -> None:
    """Lay the metadata out as an installer would, from the package's own pyproject.toml."""
    project = tomllib.loads((home / "pyproject.toml").read_text())["project"]
    name = project["name"].replace("-", "_")
    info = home / f"{name}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    points = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
        for group, table in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))


def test_a_new_adapter_passes_the_contract_suite(tmp_path: Path) -> None:
    done = command("msgcenter", "adapter", "new", "notice-board", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    home = tmp_path / "notice-board"
    assert not any("__" in text for text in re.findall(r"__[A-Z]+__", _all(home)))
    installed(home)
    suite = ("pytest", "-p", "no:cacheprovider", "-k", "notice-board")
    done = command(*suite, "tests/contract/test_adapter.py", cwd=ROOT, path=str(home))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 9
    done = command("ruff", "check", "--no-cache", "--ignore", "I001", str(home), cwd=ROOT)
    assert done.returncode == 0, done.stdout


def _all(home: Path) -> str:
    return "".join(path.read_text() for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["Bad_Name", "sms", "-x", "a--b", "a" * 41])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    done = command("msgcenter", "adapter", "new", "--", name, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("msgcenter", "adapter", "new", "board", "--folder", "file", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--folder file: Not a directory; choose one" in done.stderr
    assert "Traceback" not in done.stderr
