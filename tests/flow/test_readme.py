"""The READMEs and the pages of docs/: every bash block runs, in order, against a sandbox; every YAML block is a configuration that
passes its check; Python compiles, and what asks for a server is run against one; JSON is JSON; every link leads somewhere.

The first hour of the README has tests of its own, and so have the runbooks, the adapter guide and the Alertmanager's YAML.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.flow.blocks import blocks, furnish, run, sections, write_named
from tests.flow.sandboxed import ROOT, Sandbox

READMES = ("README.md", "README.zh.md")
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
#: Typed on a cluster; their commands are checked in tests/unit/operations/test_alerts.py.
ELSEWHERE = {"docs/runbooks.md", "docs/runbooks.zh.md"}
HOURS = {"README.md": "The first hour", "README.zh.md": "第一小时"}
#: Of which page what must be among the answers.
SAID = {
    "docs/api/access.md": (
        '"status":"delivered"',
        '"parts":8',
        '"status":422',
        '"status":"cancelled"',
    ),
    "docs/api/marketing.md": ('"no_consent"', '"state":"stopped"'),
    "docs/api/crm.md": ('"id":"C20931"', '"status":"delivered"'),
    "docs/api/reception.md": ('"direction":"in"', '"status":"delivered"'),
    "docs/api/admin.md": ('"scopes"', "campaign=spring"),
    "docs/ops-guide.md": ("good  data/config", "good  rules", "1 passed, 0 failed"),
    "README.md": ("good  production: 2 channels",),
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory):
    with Sandbox(tmp_path_factory.mktemp("readme")) as running:
        furnish(running)
        yield running


def text_of(name: str) -> str:
    """A page without the first hour."""
    text = (ROOT / name).read_text()
    hour = HOURS.get(name)
    return text.replace(sections(text, "##")[hour], "") if hour else text


def scripts(name: str) -> list[str]:
    """Its bash blocks."""
    return [text for language, text in blocks(text_of(name)) if language == "bash"]


TYPED = [name for name in ("README.md", *PAGES) if name not in ELSEWHERE and scripts(name)]


@pytest.mark.parametrize("name", TYPED)
def test_every_command_works(sandbox: Sandbox, name: str) -> None:
    for language, text in blocks(text_of(name)):
        if language == "yaml":
            write_named(sandbox.directory, text)
    script = scripts(name)
    if name in HOURS:  # typed in the terminal of the first hour
        script = [first_lines(), *script]
    whole = "".join(run(sandbox, script)).replace('": ', '":')
    for words in SAID.get(name, ()):
        assert words in whole


def test_no_page_is_without_its_expectation() -> None:
    assert set(SAID) <= {*READMES, *PAGES}


def first_lines() -> str:
    """What the first hour sets in its terminal."""
    [(_, text), *_] = blocks(sections((ROOT / "README.md").read_text(), "##")[HOURS["README.md"]])
    return "\n".join(line for line in text.splitlines() if line.startswith(("AUTH=", "export ")))


@pytest.mark.parametrize("name", [*READMES, *PAGES])
def test_every_other_block_is_well_formed(name: str, tmp_path: Path) -> None:
    for language, text in blocks(text_of(name)):
        if language == "yaml":
            yaml.safe_load(text)
        elif language == "json":
            json.loads(text)
        elif language == "python":
            compile(text, name, "exec")
        else:
            assert language in ("bash", "text", "toml"), f"{name}: nobody tests {language}"


def test_the_client_of_the_page_works(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """`main(base, key)` of docs/callers.md, as it stands there."""
    [source] = [
        text for language, text in blocks(text_of("docs/callers.md")) if language == "python"
    ]
    names: dict[str, object] = {}
    exec(compile(source, "docs/callers.md", "exec"), names)
    main = names["main"]
    assert inspect.iscoroutinefunction(main)
    key = (sandbox.data / "sandbox.key").read_text().strip()
    asyncio.run(main(f"http://127.0.0.1:{sandbox.port}", key))
    assert "msg_" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*READMES, *PAGES])
def test_every_link_leads_somewhere(name: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
    for link, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", text):
        page = (ROOT / name).parent / link if link else ROOT / name
        assert page.exists(), f"{name} leads to {link}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{name} leads to #{anchor}"


def test_every_page_can_be_found_from_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    listed = {f"docs/{link}" for link in re.findall(r"\]\(([^)#]+\.md)\)", index)}
    assert set(PAGES) - {"docs/README.md"} <= listed


def test_both_readmes_have_the_same_sections_and_type_the_same() -> None:
    english, chinese = ((ROOT / name).read_text() for name in READMES)

    def typed(section: str) -> list[tuple[str, str]]:
        """Its blocks without comments and the figures drawn in text."""
        found = [(kind, text) for kind, text in blocks(section) if "─►" not in text]
        return [(kind, re.sub(r" +# .*", "", text)) for kind, text in found]

    ours, theirs = sections(english, "##"), sections(chinese, "##")
    assert len(ours) == len(theirs)
    for (title, section), translated in zip(ours.items(), theirs.values(), strict=True):
        assert typed(section) == typed(translated), title
        subtitles = [len(sections(text, "###")) for text in (section, translated)]
        assert subtitles[0] == subtitles[1], title


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


def test_nothing_personal_is_in_logs_or_metrics(sandbox: Sandbox) -> None:
    """Of all that the pages above had sent and received: no number, no text, no WeCom id. What to look for is taken from the far
    ends' journals, so it is what really went out; the log must have said something at all."""

    def get(port: int, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
            return str(response.read().decode())

    personal = set(walked())
    for far_end in json.loads(get(sandbox.sim_port, "/"))["far_ends"]:
        for entry in json.loads(get(sandbox.sim_port, f"/journal/{far_end['name']}")):
            personal |= set(personal_in(entry))
    assert len([one for one in personal if one.isdigit()]) >= 5
    assert len([one for one in personal if not one.isascii()]) >= 5
    log = (sandbox.data / "sandbox.log").read_text()
    assert log.count('"event"') > 20
    metrics = get(sandbox.port, "/metrics")
    assert "msgcenter_messages_total" in metrics
    for one in personal:
        escaped = json.dumps(one).strip('"')
        for name, text in (("the log", log), ("/metrics", metrics)):
            found = one if one in text else escaped
            at = text.find(found)
            assert at < 0, f"{name} holds {one!r}: …{text[max(0, at - 200) : at + 100]}…"


def walked() -> Iterator[str]:
    """Numbers and texts that the pages type."""
    for name in TYPED:
        for script in scripts(name):
            yield from re.findall(r"(?<!\d)1[3-9]\d{9}(?!\d)", script)
            yield from re.findall(r'"text": "([^"{$]{4,})"', script)


_PERSONAL = {
    "text",
    "content",
    "recipient",
    "sender",
    "external_userid",
    "touser",
    "mobile",
    "name",
}
#: A mobile number, an id of a WeCom customer, or words in Chinese; not the channel's own access numbers.
_SHAPES = r"(86)?1[3-9]\d{9}|w[mob][\w-]{10,}|(?s:.*[\u4e00-\u9fff].*)"


def personal_in(value: object, key: str = "") -> Iterator[str]:
    """Every personal value in a journal's entry, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from personal_in(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from personal_in(inner, key)
    elif key in _PERSONAL and re.fullmatch(_SHAPES, str(value)):
        yield str(value).removeprefix("86")
