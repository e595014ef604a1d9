"""Logging: JSON lines with bound ids; no number, secret, body or local variable gets out."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from msgcenter import log
from msgcenter.clock import ManualClock

MOBILE = "13812345678"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.setup(ManualClock(1_790_000_000_123), level="debug", form="auto", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("13812345678", "138****5678"),
        ("+8613812345678", "+86138****5678"),
        ("tel:+8619912345678,", "tel:+86199****5678,"),
        ("008613812345678", "0086138****5678"),
        ("138 1234 5678", "138****5678"),
        ("+86 138-1234-5678", "+86 138****5678"),
        ("客户13812345678号", "客户138****5678号"),
        ("13812345678,16612345679", "138****5678,166****5679"),
        ("１3812345678", "１38****5678"),
        ("１３８１２３４５６７８", "１３８****５６７８"),
        ("11010519491231002X", "110*************2X"),
        ("110105194912310021", "110*************21"),
        ("130503670401001", "130**********01"),
        ("6222021234567890123", "************0123"),
        ("1064812345678", "10648****5678"),
        ("amqp://mc:hunter2@host/v", "amqp://mc:•••@host/v"),
        ("wmABCDEFGHIJKLMNOPQRSTUVWXYZ1234", "wm****1234"),
        # not personal
        ("10086", "10086"),
        ("106900001234", "106900001234"),
        ("1790000000123", "1790000000123"),
        ("1790000000123456789", "1790000000123456789"),
        ("12345678901", "12345678901"),
        ("2026-11-21T20:54:00.123Z", "2026-11-21T20:54:00.123Z"),
        ("", ""),
    ],
)
def test_mask(text: str, masked: str) -> None:
    assert log.mask(text) == masked
    assert log.mask(masked) == masked


def test_a_line_has_time_level_event_and_bound_ids(out: io.StringIO) -> None:
    with log.bound(
        msg_id="msg_" + "0" * 26, trace_id="4bf92f3577b34da613812345678902aa", caller="crm"
    ):
        log.get("submit").info("message accepted", lane="urgent")
    log.get("submit").info("after")
    first, second = lines(out)
    assert first == {
        "ts": "2026-09-21T14:13:20.123Z",
        "level": "info",
        "event": "message accepted",
        "logger": "submit",
        "msg_id": "msg_" + "0" * 26,
        "trace_id": "4bf92f3577b34da613812345678902aa",  # an id is not searched for numbers
        "caller": "crm",
        "lane": "urgent",
    }
    assert "msg_id" not in second


async def test_tasks_keep_their_own_ids(out: io.StringIO) -> None:
    async def work(n: int) -> None:
        with log.bound(msg_id=f"m{n}"):
            await asyncio.sleep(0)
            log.get("x").info("done", n=n)

    await asyncio.gather(*(work(n) for n in range(5)))
    assert {(line["msg_id"], line["n"]) for line in lines(out)} == {(f"m{n}", n) for n in range(5)}


def test_values_are_masked_wherever_they_hide(out: io.StringIO) -> None:
    class Thing:
        def __repr__(self) -> str:
            return f"Thing({MOBILE})"

    log.get("x").warning(
        f"sent to {MOBILE}",
        to=f"tel:+86{MOBILE}",
        number=int(MOBILE),
        nested={"list": [MOBILE, {"deep": (MOBILE,)}], MOBILE: 1},
        thing=Thing(),
        raw=MOBILE.encode(),
        text=f"您的验证码是 482913 {MOBILE}",
        api_key="mck_live_1",
        token="abc",
        customer="张三丰先生",
        recipient="grid-8812",
        msg_id=MOBILE,  # not the form of an id: searched like anything else
        count=3,
        ok=True,
        none=None,
    )
    text = out.getvalue()
    (line,) = lines(out)
    assert MOBILE not in text
    assert "482913" not in text
    assert line["event"] == "sent to 138****5678"
    assert line["nested"] == {"list": ["138****5678", {"deep": ["138****5678"]}], "138****5678": 1}
    assert line["thing"] == "Thing(138****5678)"
    assert (line["api_key"], line["token"], line["raw"]) == ("•••", "•••", "[11 bytes]")
    assert (line["customer"], line["recipient"]) == ("张***生", "g***2")
    assert (line["count"], line["ok"], line["none"]) == (3, True, None)


def test_a_cycle_and_a_crowd_are_cut(out: io.StringIO) -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    log.get("x").info("odd", loop=loop, crowd=list(range(1000)))
    assert len(lines(out)[0]["crowd"]) == 50


def test_exceptions_show_no_locals_and_are_masked(out: io.StringIO) -> None:
    def fail() -> None:
        secret_local = "local-value-77"  # noqa: F841
        raise ValueError(f"bad number {MOBILE}")

    try:
        fail()
    except ValueError:
        log.get("x").exception("could not send")
        logging.getLogger("aiohttp.server").exception("Error handling request")
    first, second = lines(out)
    for line in (first, second):
        assert "ValueError: bad number 138****5678" in line["exception"]
        assert "local-value-77" not in line["exception"]
        assert MOBILE not in json.dumps(line)
    assert (second["logger"], second["level"]) == ("aiohttp.server", "error")


def test_the_standard_library_takes_the_same_way(out: io.StringIO) -> None:
    with log.bound(channel="east"):
        logging.getLogger("aio_pika").warning("lost %s", "amqp://u:pw@h")
    logging.getLogger("aiohttp.access").info("GET /v1/messages?to=%s", MOBILE)
    logging.getLogger("aiormq").debug("frame")
    assert lines(out) == [
        {
            "ts": "2026-09-21T14:13:20.123Z",
            "level": "warning",
            "event": "lost amqp://u:•••@h",
            "logger": "aio_pika",
            "channel": "east",
        }
    ]


def test_level_and_console(out: io.StringIO) -> None:
    second = io.StringIO()
    log.setup(ManualClock(), level="warning", form="console", stream=second)
    log.get("x").info("quiet")
    log.get("x").warning("loud", to=MOBILE)
    assert out.getvalue() == ""  # the second set-up replaced the first
    assert "quiet" not in second.getvalue()
    assert "loud" in second.getvalue()
    assert "138****5678" in second.getvalue()


def test_an_exception_without_words_is_named(out: io.StringIO) -> None:
    logger = log.get("x")
    for error in (TimeoutError(), OSError(5, "gone", "/data"), ValueError(f"tel {MOBILE}")):
        logger.warning("away", error=error)
    assert [line["error"] for line in lines(out)] == [
        "TimeoutError",
        "[Errno 5] gone: '/data'",
        "tel 138****5678",
    ]


def test_exceptions_are_handed_to_the_log_as_they_are() -> None:
    """`str()` of one may be empty, and then the line says nothing."""
    root = Path(log.__file__).parents[1]
    sources = [path for top in ("msgcenter", "adapters") for path in (root / top).rglob("*.py")]
    assert len(sources) > 300
    assert not [path for path in sources if re.search(r"\berror=str\(", path.read_text())]
