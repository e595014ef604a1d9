"""Push protocol: signatures and answers against vectors worked by hand, templates, receipts in each engine's form."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from protocols.errors import Malformed
from protocols.outcome import Rejected, Retry, Sent, Unknown
from protocols.push import answers
from protocols.push.profiles import GETUI, HUAWEI, JPUSH, PLAIN, PROFILES
from protocols.push.signing import basic
from protocols.push.template import fill, text

VECTORS = Path(__file__).parents[3] / "vectors" / "push"


def load(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((VECTORS / f"{name}.yaml").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", load("signatures"), ids=lambda c: f"{c['profile']}-{c['of']}")
def test_signatures(case: dict[str, Any]) -> None:
    profile = PROFILES[case["profile"]]
    signature = getattr(profile, case["of"]).signature
    assert signature.of(case["facts"]) == case["sign"]
    signature.check(case["sign"], case["facts"])
    with pytest.raises(Malformed, match="signature"):
        signature.check(case["sign"], {**case["facts"], "secret": "other"})


def test_basic() -> None:
    assert basic("ak", "ms") == "Basic YWs6bXM="  # printf 'ak:ms' | base64


@pytest.mark.parametrize("case", load("answers"), ids=lambda c: f"{c['profile']}-{c['verdict']}")
def test_answers(case: dict[str, Any]) -> None:
    rules = PROFILES[case["profile"]].answers
    answer = answers.read(rules, case["status"], case["body"].encode(), case.get("reset", ""))
    assert answer.verdict == case["verdict"]
    if "id" in case:
        assert answer.remote_id == case["id"]
        assert answers.outcome_of(answer) == Sent((case["id"],))
    if "reset" in case:
        outcome = answers.outcome_of(answer)
        assert isinstance(outcome, Retry)
        assert (outcome.scope, outcome.after) == ("channel", 9.0)


def test_every_verdict_has_its_outcome() -> None:
    def outcome(verdict: Any) -> Any:
        return answers.outcome_of(answers.Answer(verdict, "c", "id", "told"))

    assert outcome("dead") == Rejected("recipient", "push engine: told", "dead_token")
    assert outcome("limit").code == "push_limit"
    assert outcome("reject").scope == "message"
    assert isinstance(outcome("unknown"), Unknown)
    assert {outcome(v).code for v in ("retry", "throttle", "refresh", "account")} == {
        "push_busy",
        "push_throttled",
        "push_token",
        "push_account",
    }


def test_a_template_keeps_types_and_leaves_out_what_is_not_there() -> None:
    facts = {"tokens": ["a", "b"], "ttl": None, "title": "好", "n": 3}
    template = {"to": "{tokens}", "ttl": "{ttl}", "text": "{title}-{n}", "list": ["{ttl}", "{n}"]}
    assert fill(template, facts) == {"to": ["a", "b"], "text": "好-3", "list": [3]}
    assert text("/x/{ttl}y", facts) == "/x/y"
    with pytest.raises(Malformed, match="nothing"):
        fill({"a": "{nothing}"}, facts)


def test_receipts_of_getui_are_lines_each_signed() -> None:
    # sign: the vector above
    item = {"appid": "appA", "cid": "cid1", "taskid": "task9", "msgid": "m7", "code": "0"}
    line = json.dumps({**item, "sign": "1EC52ED523C5BD1814E57EE646D78942"}).encode()
    [one, two] = answers.receipts(GETUI.receipts, line + b"\n" + line, {}, "ms", "appA", 0)
    assert (one.report.remote_id, one.report.state, one.token) == ("task9", "delivered", "cid1")
    assert one == two
    forged = json.dumps({**item, "cid": "cid2", "sign": "1ec52ed523c5bd1814e57ee646d78942"})
    with pytest.raises(Malformed, match="signature"):
        answers.receipts(GETUI.receipts, line + b"\n" + forged.encode(), {}, "ms", "appA", 0)


@pytest.mark.parametrize(
    ("code", "state", "dead"),
    [(0, "delivered", False), (2, "undelivered", True), (5, "undelivered", True),
     (6, "undelivered", False), (10, "undelivered", True), (15, "undelivered", False),
     (102, "undelivered", False), (256, "undelivered", False)],
)  # fmt: skip
def test_receipts_of_huawei(code: int, state: str, dead: bool) -> None:
    status = {"requestId": "r1", "token": "t", "status": code, "timestamp": 1700000000000}
    body = json.dumps({"statuses": [status]})
    facts = {"timestamp": "1700000000123", "nonce": "n", "body_text": body, "secret": "s"}
    assert HUAWEI.receipts.signature is not None
    value = HUAWEI.receipts.signature.of(facts)
    headers = {"X-HUAWEI-CALLBACK-ID": f"timestamp=1700000000123; nonce=n; value={value}"}
    [one] = answers.receipts(HUAWEI.receipts, body.encode(), headers, "s", "", 1_700_000_000)
    assert (one.report.state, one.dead, one.report.code) == (state, dead, str(code))
    assert one.report.at == 1_700_000_000_000
    with pytest.raises(Malformed, match="300 s"):
        answers.receipts(HUAWEI.receipts, body.encode(), headers, "s", "", 1_700_009_000)
    with pytest.raises(Malformed, match="signature"):
        answers.receipts(HUAWEI.receipts, body.encode() + b" ", headers, "s", "", 1_700_000_000)


def test_jpush_says_how_many_devices_were_reached() -> None:
    body = b'[{"msg_id":181,"android_received":0,"ios_apns_received":2},{"msg_id":182,"android_received":null}]'
    [one] = answers.polled(JPUSH.receipts, body)
    assert (one.report.remote_id, one.report.state) == ("181", "delivered")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"1", b"{", b'{"receipts":[1]}', b"\xff"])
def test_a_receipt_that_cannot_be_read_is_refused_or_says_nothing(body: bytes) -> None:
    assert PLAIN.receipts.signature is not None
    stamp = {"timestamp": "1700000000", "nonce": "n"}
    said = body.decode("utf-8", "replace")
    sign = PLAIN.receipts.signature.of({**stamp, "body_text": said, "secret": "s"})
    headers = {"X-Push-Timestamp": "1700000000", "X-Push-Nonce": "n", "X-Push-Signature": sign}
    with suppress(Malformed):
        assert answers.receipts(PLAIN.receipts, body, headers, "s", "", 1_700_000_000) == []


def test_the_sources_are_hashed_as_the_documents_say() -> None:
    joined = hashlib.sha256(b"appkey1ms").hexdigest()
    assert GETUI.auth.signature is not None
    assert GETUI.auth.signature.of({"key": "appkey", "timestamp_ms": 1, "secret": "ms"}) == joined
