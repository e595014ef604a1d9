"""The fenced blocks of a Markdown page, and the bash ones run in one shell against a sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.flow.sandboxed import ROOT, Sandbox

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "@@ block"


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, text) of each."""
    return [(found[1], found[2]) for found in _BLOCK.finditer(text)]


def sections(text: str, level: str) -> dict[str, str]:
    """Heading -> what is under it; `level` as `##`."""
    parts = re.split(rf"^{level} (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def furnish(sandbox: Sandbox) -> None:
    """What a checkout has beside the data folder."""
    (sandbox.directory / ".venv").symlink_to(sys.prefix)
    (sandbox.directory / "docs").symlink_to(ROOT / "docs")


def run(sandbox: Sandbox, script: Sequence[str]) -> list[str]:
    """What each block printed; one shell for all, so that a later one may use a variable of an earlier. A command that fails
    fails the test; so does an answer of the API that is an error, unless its line ends in `# 422`."""
    text = "\n".join(f"echo '{_MARK}'\n{block}\n" for block in script)
    text = text.replace("localhost:8080", f"127.0.0.1:{sandbox.port}")
    text = text.replace("localhost:8081", f"127.0.0.1:{sandbox.sim_port}")
    text = re.sub(r"curl -s (?!.*# 422$)", "curl -s --fail-with-body ", text, flags=re.MULTILINE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MSGCENTER")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        cwd=sandbox.directory,
        env=environment,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.split(_MARK)[1:]


def write_named(folder: Path, text: str) -> Path | None:
    """A YAML block whose first line is `# folder/file.yaml` becomes that file; None for any other."""
    first = text.partition("\n")[0]
    named = re.fullmatch(r"# ([\w./-]+\.yaml)", first)
    if named is None:
        return None
    path = folder / named[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
