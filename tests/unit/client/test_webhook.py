"""The receiver's side of callbacks: signatures of msgcenter and of the standard's own library; old, forged and repeated calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import standardwebhooks

from msgcenter.client import BadSignature, Replayed, Webhook
from protocols.webhook.signing import secret_of, sign

SECRET, OTHER = secret_of(b"k" * 32), secret_of(b"o" * 32)
NOW = 1_790_000_000
BODY = json.dumps({"id": "evt_1", "type": "msgcenter.message.sent.v1", "data": {"a": 1}}).encode()


def hook(*secrets: str, now: int = NOW) -> Webhook:
    return Webhook(*(secrets or (SECRET,)), now=lambda: now)


def headers(secret: str = SECRET, at: int = NOW, event: str = "evt_1") -> dict[str, str]:
    return sign([secret], event, at, BODY)


def test_a_good_call_is_the_event() -> None:
    event = hook().verify({n.title(): v for n, v in headers().items()}, BODY)
    assert (event.id, event.type, event.data) == ("evt_1", "msgcenter.message.sent.v1", {"a": 1})


def test_the_standards_library_signs_the_same() -> None:
    theirs = standardwebhooks.Webhook(SECRET)
    signature = theirs.sign("evt_1", datetime.fromtimestamp(NOW, UTC), BODY.decode())
    given = {"webhook-id": "evt_1", "webhook-timestamp": str(NOW), "webhook-signature": signature}
    assert hook().verify(given, BODY).id == "evt_1"


def test_during_a_rotation_either_secret_is_good() -> None:
    assert hook(SECRET, OTHER).verify(headers(OTHER), BODY).id == "evt_1"


@pytest.mark.parametrize("late", [-301, 301])
def test_outside_the_window_it_is_refused(late: int) -> None:
    with pytest.raises(BadSignature):
        hook(now=NOW + late).verify(headers(), BODY)


@pytest.mark.parametrize(
    "given",
    [
        {},
        headers(OTHER),
        {**headers(), "webhook-id": "evt_2"},
        {**headers(), "webhook-timestamp": str(NOW + 1)},
        {**headers(), "webhook-signature": "v1,AAAA"},
        {**headers(), "webhook-signature": headers()["webhook-signature"].replace("v1,", "v2,")},
    ],
)
def test_forgeries(given: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        hook().verify(given, BODY)
    with pytest.raises(BadSignature):
        hook().verify(headers(), BODY + b" ")


def test_a_copied_call_is_known_as_long_as_it_is_fresh() -> None:
    now = [NOW]
    one = Webhook(SECRET, now=lambda: now[0])
    one.verify(headers(), BODY)
    now[0] += 300
    with pytest.raises(Replayed):
        one.verify(headers(), BODY)
    with pytest.raises(Replayed):
        one.verify(headers(at=NOW + 300), BODY)  # a retry of the sender: signed anew, the same id
    now[0] += 301
    one.verify(headers(at=now[0]), BODY)
    assert len(one._ids) == 1, "what is over is forgotten"


def test_a_forgery_takes_no_place_in_the_memory() -> None:
    one = hook()
    with pytest.raises(BadSignature):
        one.verify(headers(OTHER), BODY)
    assert one.verify(headers(), BODY).id == "evt_1"


def test_receivers_may_share_their_memory() -> None:
    noted: dict[str, int] = {}

    def seen(event: str, seconds: int) -> bool:
        known = event in noted
        noted.setdefault(event, seconds)
        return known

    first = Webhook(SECRET, now=lambda: NOW, seen=seen)
    first.verify(headers(), BODY)
    assert noted == {"evt_1": 600}
    other = Webhook(SECRET, now=lambda: NOW, seen=seen)
    with pytest.raises(Replayed):
        other.verify(headers(), BODY)
