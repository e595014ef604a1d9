"""The READMEs: every bash block runs, in order, against a sandbox; every YAML block is a configuration that passes its check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.sandboxed import ROOT, Sandbox

_BLOCK = re.compile(r"^```(bash|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "@@ block"


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks that must work."""
    return [(found[1], found[2]) for found in _BLOCK.finditer((ROOT / name).read_text())]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory):
    with Sandbox(tmp_path_factory.mktemp("readme")) as running:
        (running.directory / ".venv").symlink_to(sys.prefix)
        yield running


def run(sandbox: Sandbox, script: list[str]) -> list[str]:
    """What each block printed; one shell for all, so that a later one may use a variable of an earlier."""
    text = "\n".join(f"echo '{_MARK}'\n{block}\n" for block in script)
    text = text.replace("localhost:8080", f"127.0.0.1:{sandbox.port}")
    text = text.replace("localhost:8081", f"127.0.0.1:{sandbox.sim_port}")
    text = re.sub(r"curl -s (?!.*# 422$)", "curl -s --fail-with-body ", text, flags=re.MULTILINE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MSGCENTER")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=sandbox.directory,
        env=environment,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.split(_MARK)[1:]


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_every_block_works(sandbox: Sandbox, name: str) -> None:
    found = blocks(name)
    script = [text for language, text in found if language == "bash"]
    assert len(script) > 3
    for language, text in found:
        if language == "yaml":
            first, _, _ = text.partition("\n")
            assert first.startswith("# "), "the first line of a YAML block names its file"
            path = sandbox.directory / first.removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    said = run(sandbox, script)
    whole = "".join(said).replace('": ', '":')
    assert '"status":"delivered"' in whole
    assert '"parts":8' in whole  # 510 characters at the handset
    assert '"status":422' in whole
    assert '"status":"cancelled"' in whole
    assert "good  production: 2 channels" in whole


def test_what_the_readme_names_is_there() -> None:
    for name in ("README.md", "README.zh.md"):
        text = (ROOT / name).read_text()
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", text):
            assert (ROOT / link).exists(), f"{name} leads to {link}"


def test_both_readmes_promise_the_same_number_of_things() -> None:
    def promises(name: str, after: str) -> int:
        section = (ROOT / name).read_text().split(after, 1)[1].split("\n## ", 1)[0]
        return len(re.findall(r"^\d\. ", section, re.MULTILINE))

    english = promises("README.md", "## What it promises")
    assert english == promises("README.zh.md", "## 承诺与边界") == 8


def test_the_words_of_the_readme_are_in_the_code() -> None:
    """A word that is written like code must be one."""
    section = (ROOT / "README.md").read_text().split("\n## Words\n", 1)[1].split("\n## ", 1)[0]
    words = {
        word
        for row in re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
        for word in re.findall(r"`(\w+)`", row)
    }
    assert {"Envelope", "Outcome", "State"} <= words
    source = "\n".join(
        p.read_text()
        for folder in ("msgcenter", "protocols")
        for p in Path(ROOT / folder).rglob("*.py")
    )
    assert not {word for word in words if not re.search(rf"\b{word}\b", source)}
