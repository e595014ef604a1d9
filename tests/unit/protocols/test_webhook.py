"""Standard Webhooks: signatures against vectors made with openssl and against the reference
library; answers as data.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from protocols.egress import may_call, networks
from protocols.errors import Malformed
from protocols.outcome import Rejected, Retry, Sent, Unknown
from protocols.webhook import results, signing

# Keys 00..17 and 32 x ff. Worked with: printf 'ID.SECONDS.BODY' | openssl dgst -sha256 -mac HMAC
# -macopt hexkey:KEY -binary | base64
FIRST = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
SECOND = "whsec_//////////////////////////////////////////8="
BODY = '{"type":"message.delivered","data":{"text":"您好"}}'.encode()
NOW = 1_790_000_000
VECTORS = [
    (FIRST, "evt_01", NOW, BODY, "v1,qC6wFIqLK4UvbVAr7h3xZbpUHL6Pd+dctj15xS8sbWw="),
    (SECOND, "evt_01", NOW, BODY, "v1,H4OnkwBbKKzsNUbwwMJU30XMDbXGQUcrvnqP2URIFxo="),
    (FIRST, "evt_empty", 0, b"", "v1,tDDJLWUYef1cO35iAVlSjSqbP4MjshOC2UhlEB89jwc="),
]


@pytest.mark.parametrize(("secret", "event_id", "seconds", "body", "mark"), VECTORS)
def test_vectors(secret: str, event_id: str, seconds: int, body: bytes, mark: str) -> None:
    assert signing.sign([secret], event_id, seconds, body) == {
        "webhook-id": event_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": mark,
    }


def test_both_secrets_sign_during_a_rotation() -> None:
    headers = signing.sign([SECOND, FIRST], "evt_01", NOW, BODY)
    assert headers["webhook-signature"] == f"{VECTORS[1][4]} {VECTORS[0][4]}"
    for known in ([FIRST], [SECOND], [SECOND, FIRST]):
        assert signing.verify(known, headers, BODY, NOW) == "evt_01"


@given(
    key=st.binary(min_size=24, max_size=64),
    event_id=st.text("abcXYZ019_-", min_size=1, max_size=40),
    body=st.dictionaries(st.text(max_size=9), st.text(max_size=30), max_size=4),
)
def test_agrees_with_the_reference_library(key: bytes, event_id: str, body: dict[str, str]) -> None:
    secret = signing.secret_of(key)
    data = json.dumps(body, ensure_ascii=False).encode()
    theirs = standardwebhooks.Webhook(secret)
    now = datetime.now(tz=UTC)
    seconds = int(now.timestamp())
    ours = signing.sign([secret], event_id, seconds, data)
    assert theirs.verify(data, ours) == body
    mark = theirs.sign(event_id, now, data.decode())
    headers = ours | {"webhook-signature": f"v1a,ignored {mark}"}
    assert signing.verify([secret], headers, data, seconds) == event_id


def signed() -> dict[str, str]:
    return signing.sign([FIRST], "evt_01", NOW, BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_02"},
        {"webhook-id": ""},
        {"webhook-id": f"evt_01.{NOW}"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": "yesterday"},
        {"webhook-timestamp": "-1"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v2,qC6wFIqLK4UvbVAr7h3xZbpUHL6Pd+dctj15xS8sbWw="},
        {"webhook-signature": "v1,您好"},
    ],
)
def test_a_changed_header_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(signing.BadSignature):
        signing.verify([FIRST], signed() | change, BODY, NOW)


def test_another_body_secret_or_time_is_refused() -> None:
    with pytest.raises(signing.BadSignature):
        signing.verify([FIRST], signed(), BODY + b" ", NOW)
    with pytest.raises(signing.BadSignature):
        signing.verify([SECOND], signed(), BODY, NOW)
    for now in (NOW - 300, NOW + 300):
        assert signing.verify([FIRST], signed(), BODY, now) == "evt_01"
    for now in (NOW - 301, NOW + 301):
        with pytest.raises(signing.BadSignature):
            signing.verify([FIRST], signed(), BODY, now)


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_!!!!", "whsec_YWJj"])
def test_a_bad_secret_is_named_without_repeating_it(secret: str) -> None:
    with pytest.raises(Malformed) as raised:
        signing.sign([secret], "evt_1", NOW, b"")
    if len(secret) > 6:
        assert secret[6:] not in str(raised.value)
    with pytest.raises(Malformed):
        signing.sign([], "evt_1", NOW, b"")
    with pytest.raises(Malformed):
        signing.sign([FIRST], "evt\r\nx: y", NOW, b"")


def test_every_status_has_an_outcome() -> None:
    for status in range(1000):
        results.outcome_of(status)
    assert isinstance(results.outcome_of(204), Sent)
    assert results.outcome_of(301) == Retry(
        "recipient", "the subscriber answered HTTP 301", 0.0, "redirect"
    )
    gone = results.outcome_of(410)
    assert isinstance(gone, Rejected)
    assert (gone.scope, gone.code) == ("recipient", "gone")
    assert isinstance(results.outcome_of(422), Rejected)
    assert isinstance(results.outcome_of(404), Retry)
    for status in (500, 502, 504):
        assert isinstance(results.outcome_of(status), Unknown)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("99999999999999", 3600.0),
        ("Mon, 21 Sep 2026 14:13:50 GMT", 30.0),
        ("Mon, 21 Sep 2020 14:13:50 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("１２", 0.0),
    ],
)
def test_retry_after(text: str, seconds: float) -> None:
    outcome = results.outcome_of(503, text, NOW)
    assert isinstance(outcome, Retry)
    assert outcome.after == seconds


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "example.com",
        "",
        "127.1",
        "0x7f.1",
    ],
)
def test_no_way_inside(address: str) -> None:
    assert not may_call(address)


def test_global_and_allowed_addresses() -> None:
    for address in ("8.8.8.8", "114.114.114.114", "2400:3200::1", "::ffff:8.8.8.8"):
        assert may_call(address)
    allow = networks(["10.20.0.0/16", "fd12::/32"])
    assert may_call("10.20.3.4", allow)
    assert may_call("::ffff:10.20.3.4", allow)
    assert may_call("fd12::5", allow)
    assert not may_call("10.21.0.1", allow)
    with pytest.raises(Malformed):
        networks(["10.20.0.1/16"])
