"""A stranger's first hour by the README alone: each of its steps is a test, typed as it stands there, in its order."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.flow.blocks import blocks, furnish, run, sections
from tests.flow.sandboxed import ROOT, Sandbox

README = (ROOT / "README.md").read_text()
STEPS = sections(sections(README, "##")["The first hour"], "###")
RUNBOOKS = sections((ROOT / "docs/runbooks.md").read_text(), "##")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory):
    with Sandbox(tmp_path_factory.mktemp("hour")) as running:
        furnish(running)
        yield running


def typed(step: str) -> list[str]:
    return [text for language, text in blocks(STEPS[step]) if language == "bash"]


#: What the first step sets stays set in that terminal.
SET = "\n".join(re.findall(r"^(?:AUTH=|export ).*$", typed("1. Install, and look around")[0], re.M))


def do(sandbox: Sandbox, step: str) -> str:
    """What its commands print, spaces after colons left out."""
    return "".join(run(sandbox, [SET, *typed(step)])).replace('": ', '":')


def documents(said: str) -> list[dict]:
    """The JSON answers in an output, one to a line."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def split(said: str) -> str:
    """Answers of curl have no line end: one to a line."""
    return said.replace("}{", "}\n{")


def test_install_is_make() -> None:
    """`make run` installs by hash what the lock names, then starts the sandbox; here it is not done a second time."""
    plan = subprocess.run(
        ["make", "-n", "-B", "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    install, start = plan.index("--require-hashes --requirement"), plan.index("msgcenter sandbox")
    assert install < start
    assert "make run" in README.partition("## The first hour")[0]


def test_1_it_runs(sandbox: Sandbox) -> None:
    said = do(sandbox, "1. Install, and look around")
    assert '"version"' in said
    assert "sms-sandbox" in said


def test_2_the_first_sms(sandbox: Sandbox) -> None:
    said = do(sandbox, "2. The first SMS")
    assert '"status":"delivered"' in said
    assert '"text":"您的宽带业务已受理。"' in said  # at the handset


def test_3_the_first_answer(sandbox: Sandbox) -> None:
    said = do(sandbox, "3. The first answer")
    assert "怎么办理宽带？" in said
    assert '"direction":"in"' in said
    assert '"status":"delivered"' in said


def test_4_a_cap_changed(sandbox: Sandbox) -> None:
    said = split(do(sandbox, "4. A cap changed"))
    assert "good  data/config" in said
    before, first, second, why = documents(said)
    assert before["verdict"] == "send"
    assert (first["status"], second["status"]) == ("delivered", "suppressed")
    [step] = why["steps"]
    assert (why["verdict"], step["code"], step["detail"]) == ("refuse", "care-once-a-day", "1 of 1")
    assert step["next_at"]


def test_5_an_alert_understood(sandbox: Sandbox) -> None:
    said = do(sandbox, "5. An alert understood")
    assert '"status":"rejected"' in said
    assert 'reason="service_id"' in said
    paragraph = RUNBOOKS["MsgcenterDeadLetters"].strip()
    assert paragraph in said
    [advice] = [text for language, text in blocks(paragraph) if language == "bash"]
    first = advice.splitlines()[0].replace("msgcenter", ".venv/bin/msgcenter", 1)
    assert "service_id" in run(sandbox, [SET, first])[1]  # what it says to type names the cause


def test_6_a_dead_letter_replayed(sandbox: Sandbox) -> None:
    said = do(sandbox, "6. A dead letter replayed")
    before, _, after = said.partition("您的账单已出")
    assert "service_id" in before
    assert "service_id" not in after
