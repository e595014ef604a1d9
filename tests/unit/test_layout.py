"""The repository keeps its shape: allowed names, docstrings, host-free locks, plain CI script."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("msgcenter", "adapters", "protocols")
TOP_LEVEL = {
    *("msgcenter", "adapters", "protocols", "config", "bench", "tests", "docs"),
    *("Dockerfile", "Makefile", "compose.yaml", "pyproject.toml"),
    *("README.md", "README.zh.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "CONTRIBUTING.md"),
    *("requirements.lock", "requirements-dev.lock"),
}
VAGUE = {"utils", "util", "common", "base", "manager", "helpers", "helper", "misc"}
LEFTOVERS = {"__pycache__", "build", "dist", "data"}
LOCKS = ("requirements.lock", "requirements-dev.lock")


def _project_files() -> list[Path]:
    """The project's files: what git knows or would add; without git, all but leftovers."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [Path(name) for name in listed.split("\0") if name and (ROOT / name).exists()]
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name for name in folders if not name.startswith(".") and name not in LEFTOVERS
        ]
        found += [(Path(folder) / name).relative_to(ROOT) for name in names]
    return found


FILES = _project_files()
MODULES = [path for path in FILES if path.suffix == ".py"]


def test_the_top_level_holds_only_what_belongs_there() -> None:
    found = {path.parts[0] for path in FILES}
    assert not {name for name in found if not name.startswith(".")} - TOP_LEVEL


def test_no_module_has_a_vague_name() -> None:
    named = {part for path in MODULES for part in (*path.parts[:-1], path.stem)}
    assert not named & VAGUE


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_module_opens_with_a_docstring(path: Path) -> None:
    source = (ROOT / path).read_text()
    if path.name == "__init__.py" and not source.strip():
        return
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring, f"{path} opens without a docstring"
    first = docstring.split("\n\n")[0].strip()
    assert first.endswith((".", "!", "?")), f"{path}: the docstring's first paragraph is a sentence"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_carry_the_typing_marker(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_hashes_and_nothing_about_where_files_come_from(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(
        r"://|--?(extra-)?index-url|--find-links|--trusted-host|@ ?file:|^-e ", text
    )
    requirement = re.compile(r"[a-z0-9._-]+(\[[a-z,]+\])?==[^ ]+( ; [^\\]+)?")
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("#"):
            continue
        pin, *hashes = re.split(r" +--hash=", line.strip())
        assert requirement.fullmatch(pin.strip()), line[:120]
        assert hashes, f"{pin} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), line[:120]


def _pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ]+)", (ROOT / name).read_text(), re.M))


def _names(requirements: list[str]) -> set[str]:
    found = [re.match(r"[A-Za-z0-9._-]+", each) for each in requirements]
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_locks_cover_every_declared_dependency() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = _names(declared["project"]["dependencies"])
    runtime |= _names(declared["dependency-groups"]["build"])
    runtime |= _names(declared["build-system"]["requires"])
    assert not runtime - _pins("requirements.lock").keys(), "say: make lock"
    development = _names(declared["project"]["optional-dependencies"]["dev"])
    assert not development - _pins("requirements-dev.lock").keys(), "say: make lock"


def test_the_development_lock_contains_the_runtime_lock() -> None:
    development = _pins("requirements-dev.lock")
    runtime = _pins("requirements.lock")
    assert {name: development.get(name) for name in runtime} == runtime


def test_ci_runs_make_test_with_real_servers_required() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    first, *lines = script.read_text().splitlines()
    assert first == "#!/usr/bin/env bash"
    commands = [shlex.split(line) for line in lines if line.strip() and not line.startswith("#")]
    assert commands == [
        ["set", "-euo", "pipefail"],
        ["cd", "$(dirname $0)/.."],
        ["export", "MSGCENTER_REQUIRE_REAL=1"],
        ["make", "test"],
    ]
