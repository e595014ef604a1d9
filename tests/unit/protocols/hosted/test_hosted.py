"""The hosted-account protocol: every example of its page is read and written back, limits hold, every code has its outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from protocols.errors import Malformed
from protocols.hosted import answers, commands, events
from protocols.hosted.answers import Answer, outcome_of, outcome_of_status, read_answer, refusal
from protocols.hosted.commands import (
    AccountStatus,
    ChangeMembers,
    CreateGroup,
    DissolveGroup,
    Query,
    Recall,
    RenameGroup,
    Send,
    read_command,
    write_command,
)
from protocols.hosted.content import Card, Chat, Link, Media, MiniProgram, Other, Text
from protocols.outcome import Rejected, Retry, Sent, Unknown
from protocols.webhook.signing import BadSignature, secret_of, sign

PAGE = (Path(__file__).parents[4] / "docs" / "hosted-protocol.md").read_text()
EXAMPLES = {
    kind: re.findall(rf"^```json {kind}\n(.*?)\n```$", PAGE, re.M | re.S)
    for kind in ("command", "answer", "event")
}
SECRET = secret_of(bytes(range(32)))
NOW = 1_790_000_000


@pytest.mark.parametrize("example", EXAMPLES["command"])
def test_command_examples(example: str) -> None:
    command = read_command(example.encode())
    assert json.loads(write_command(command)) == json.loads(example)
    assert read_command(write_command(command)) == command


@pytest.mark.parametrize("example", EXAMPLES["answer"])
def test_answer_examples(example: str) -> None:
    answer = read_answer(example.encode())
    assert json.loads(answers.write_answer(answer)) == json.loads(example)
    outcome_of(answer)


@pytest.mark.parametrize("example", EXAMPLES["event"])
def test_event_examples(example: str) -> None:
    event = events.read_event(example.encode())
    assert json.loads(events.write_event(event)) == json.loads(example)
    headers = sign([SECRET], event.id, NOW, example.encode())
    assert events.verify([SECRET], headers, example.encode(), NOW) == event


def test_the_page_has_an_example_of_everything() -> None:
    seen = {type(read_command(each.encode())) for each in EXAMPLES["command"]}
    assert seen == set(get_args(commands.Command))
    contents = {
        type(command.content)
        for each in EXAMPLES["command"]
        if isinstance(command := read_command(each.encode()), Send)
    }
    assert contents == {Text, Media, Link, MiniProgram, Card}
    said = {type(events.read_event(each.encode())) for each in EXAMPLES["event"]}
    assert said == set(get_args(events.Hosted)) - {events.UnknownEvent}
    for code in answers.CODES:
        assert f"`{code}`" in PAGE
    for word in (*answers.ACCOUNT_STATES, *events.GROUP_CHANGES, *get_args(answers.State)):
        assert f"`{word}`" in PAGE


def test_a_call_is_signed_with_the_commands_id() -> None:
    call = commands.call(AccountStatus("a"), "CMD1", [SECRET], NOW)
    assert call.body == b'{"account":"a","type":"account.status","version":1}'
    assert call.headers["webhook-id"] == "CMD1"
    assert call.headers == {
        **sign([SECRET], "CMD1", NOW, call.body),
        "content-type": "application/json",
    }


C = Chat("customer", "wm1")
G = Chat("group", "wr1")
GIF = (
    b'{"version":1,"type":"message.send","account":"a","to":{"kind":"group","id":"g"},'
    b'"content":{"type":"gif"}}'
)
REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("account: missing", lambda: write_command(AccountStatus(""))),
    ("account: 129 octets, at most 128", lambda: write_command(AccountStatus("a" * 129))),
    ("account: control", lambda: write_command(AccountStatus("a\nb"))),
    ("account: not valid", lambda: write_command(AccountStatus("\ud800"))),
    ("text: 4098 octets, at most 4096", lambda: write_command(Send("a", C, Text(text="您" * 1366)))),
    ("text: missing", lambda: write_command(Send("a", C, Text()))),
    ("chat.id: missing", lambda: write_command(Send("a", Chat("group", ""), Text(text="x")))),
    ("mention: in groups", lambda: write_command(Send("a", C, Text(text="x"), ("b",)))),
    ("mention: somebody twice", lambda: write_command(Send("a", G, Text(text="x"), ("b", "b")))),
    ("url: an http", lambda: write_command(Send("a", C, Media(url="file:///etc/passwd")))),
    ("sha256", lambda: write_command(Send("a", C, Media(url="https://x", sha256="ABC")))),
    ("title: missing", lambda: write_command(Send("a", C, Link(url="https://x")))),
    ("page: missing", lambda: write_command(Send("a", C, MiniProgram(app_id="wx", title="t")))),
    ("cannot be sent", lambda: write_command(Send("a", C, Other(type="x")))),
    ("message_id: missing", lambda: write_command(Recall("a", C, ""))),
    ("name: 51 characters, at most 50", lambda: write_command(CreateGroup("a", "群" * 51, ("b",)))),
    ("members: 0 items", lambda: write_command(CreateGroup("a", "n", ()))),
    ("members: 501 items", lambda: write_command(CreateGroup("a", "n", tuple(map(str, range(501)))))),
    ("group_id: missing", lambda: write_command(RenameGroup("a", "", "n"))),
    ("nothing to change", lambda: write_command(ChangeMembers("a", "g"))),
    ("somebody in both", lambda: write_command(ChangeMembers("a", "g", ("b",), ("b",)))),
    ("group_id: missing", lambda: write_command(DissolveGroup("a", ""))),
    ("command: missing", lambda: write_command(Query("a", ""))),
    ("version: 1 expected", lambda: read_command(b"{}")),
    ("type: 'x' is not known", lambda: read_command(b'{"version":1,"type":"x","account":"a"}')),
    ("content: an object", lambda: read_command(b'{"version":1,"type":"message.send","account":"a"}')),
    ("'gif' is not known", lambda: read_command(GIF)),
    ("chat.kind", lambda: read_command(b'{"version":1,"type":"message.recall","account":"a","chat":{"kind":"x","id":"g"},"message_id":"m"}')),
    ("octets, at most 65536", lambda: read_command(b" " * 65_537)),
    ("state: done", lambda: read_answer(b'{"state":"maybe"}')),
    ("an object expected", lambda: read_answer(b"[]")),
    ("octets, at most 262144", lambda: events.read_event(b" " * 262_145)),
    ("id: missing", lambda: events.read_event(b'{"version":1,"type":"x","account":"a","at":1}')),
    ("at: epoch", lambda: events.read_event(b'{"version":1,"type":"x","account":"a","id":"1"}')),
    ("status.state", lambda: events.read_event(b'{"version":1,"type":"account.state","account":"a","id":"1","at":1,"status":{"state":"x"}}')),
    ("change: one of", lambda: events.read_event(b'{"version":1,"type":"group.changed","account":"a","id":"1","at":1,"group_id":"g"}')),
    ("state: delivered", lambda: events.read_event(b'{"version":1,"type":"receipt","account":"a","id":"1","at":1,"command":"c","state":"x"}')),
]  # fmt: skip


@pytest.mark.parametrize(("words", "make"), REFUSED, ids=[words for words, _ in REFUSED])
def test_refused_naming_field_and_limit(words: str, make: Callable[[], Any]) -> None:
    with pytest.raises(Malformed) as caught:
        make()
    assert words in str(caught.value)


def test_events_that_are_not_known_are_kept() -> None:
    body = b'{"version":1,"type":"moments.posted","account":"a","id":"1","at":1,"seq":2,"picture":{"url":"u"}}'
    event = events.read_event(body)
    assert isinstance(event, events.UnknownEvent)
    assert (event.type, event.seq) == ("moments.posted", 2)
    assert ("picture/url", "u") in event.fields
    with pytest.raises(Malformed):
        events.write_event(event)


def test_events_are_checked_before_they_are_read() -> None:
    body = EXAMPLES["event"][0].encode()
    headers = sign([SECRET], "e-1", NOW, body)
    other = secret_of(b"x" * 32)
    for secrets, changed, now in (
        ([other], body, NOW),
        ([SECRET], body.replace(b"41", b"42"), NOW),
        ([SECRET], body, NOW + 301),
        ([SECRET], b"\xff", NOW),
    ):
        with pytest.raises(BadSignature):
            events.verify(secrets, headers, changed, now)
    with pytest.raises(Malformed, match="id: not the one"):
        events.verify([SECRET], sign([SECRET], "e-9", NOW, body), body, NOW)


CODES = [
    ("busy", Retry, "channel"),
    ("paced", Retry, "account"),
    ("account_offline", Retry, "account"),
    ("account_limited", Rejected, "account"),
    ("account_login_lost", Retry, "account"),
    ("account_banned", Rejected, "account"),
    ("account_unknown", Rejected, "account"),
    ("customer_unknown", Rejected, "recipient"),
    ("not_a_contact", Rejected, "recipient"),
    ("group_unknown", Rejected, "recipient"),
    ("group_gone", Rejected, "recipient"),
    ("not_in_group", Rejected, "recipient"),
    ("not_owner", Rejected, "recipient"),
    ("group_full", Rejected, "recipient"),
    ("member_refused", Rejected, "recipient"),
    ("recall_too_late", Rejected, "message"),
    ("message_unknown", Rejected, "message"),
    ("content_refused", Rejected, "message"),
    ("media_unreachable", Retry, "message"),
    ("unsupported", Rejected, "message"),
    ("invalid", Rejected, "message"),
    ("command_unknown", Rejected, "message"),
]


@pytest.mark.parametrize(("code", "kind", "scope"), CODES)
def test_codes(code: str, kind: type, scope: str) -> None:
    found = outcome_of(Answer(state="refused", code=code, detail="why", retry_after_s=0))
    assert isinstance(found, kind)
    assert (found.scope, found.code) == (scope, f"hosted_{code}")


def test_the_table_has_exactly_these_codes() -> None:
    assert set(answers.CODES) == {code for code, *_ in CODES}


def test_states_and_what_is_not_listed() -> None:
    assert outcome_of(Answer(state="done", message_id="m")) == Sent(("m",), "done")
    assert outcome_of(Answer(state="queued", message_id="m")) == Sent(("m",), "queued")
    assert outcome_of(Answer(state="done", group_id="g")) == Sent(("g",), "done")
    assert outcome_of(Answer(state="done")) == Sent((), "done")
    assert isinstance(outcome_of(Answer(state="unknown", message_id="m")), Unknown)
    found = refusal("brand_new_" * 50)
    assert isinstance(found, Rejected)
    assert found.code == "hosted_refused"
    wait = outcome_of(Answer(state="refused", code="paced", retry_after_s=12))
    assert isinstance(wait, Retry)
    assert wait.after == 12.0
    longest = outcome_of(Answer(state="refused", code="paced", retry_after_s=10**9))
    assert isinstance(longest, Retry)
    assert longest.after == 3600.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (413, Rejected),
        (422, Rejected),
        (401, Retry),
        (404, Retry),
        (429, Retry),
        (503, Retry),
        (500, Unknown),
        (502, Unknown),
        (504, Unknown),
    ],
)
def test_http_answers(status: int, kind: type) -> None:
    assert isinstance(outcome_of_status(status), kind)


@pytest.mark.parametrize("example", EXAMPLES["command"] + EXAMPLES["event"])
def test_cut_short_at_every_octet(example: str) -> None:
    body = example.encode()
    for length in range(len(body)):
        for read in (read_command, events.read_event):
            with pytest.raises(Malformed):
                read(body[:length])


def test_fuzz_20000() -> None:
    rng = Random(11)
    odd: list[Any] = [
        None,
        True,
        -1,
        10**30,
        1.5,
        "",
        "x",
        "a" * 5000,
        [],
        [[]],
        {},
        {"kind": []},
        [1, None, {}],
    ]
    readers = {"command": read_command, "answer": read_answer, "event": events.read_event}
    read = 0
    for _ in range(20_000):
        kind = rng.choice(list(readers))
        tree = json.loads(rng.choice(EXAMPLES[kind]))
        place = tree
        while True:
            name = rng.choice(list(place))
            if isinstance(place[name], dict) and place[name] and rng.random() < 0.6:
                place = place[name]
                continue
            place[name] = rng.choice(odd)
            break
        try:
            readers[kind](json.dumps(tree).encode())
            read += 1
        except Malformed as error:
            assert len(str(error)) < 200
    assert 1_000 < read < 19_000
