"""The code tables of SMPP, SGIP and SMGP row by row: code, scope, whether it is worth another try,
our reason code; as written in the protocol reference.
"""

from __future__ import annotations

import pytest

from protocols.outcome import Rejected, Retry
from protocols.sgip import pdu as sgip
from protocols.sgip import results as sgip_results
from protocols.smgp import results as smgp_results
from protocols.smpp import results as smpp_results
from protocols.sms.results import CLASSES, Codes, state_of

# code  scope  retry  reason
SMPP = """
01 message no too_long        02 message no protocol_fault   03 message no protocol_fault
04 channel yes session        05 channel yes session         06 message no protocol_fault
07 message no protocol_fault  08 channel yes far_end_trouble 0a account no src_id
0b recipient no bad_number    0c message no protocol_fault   0d channel yes session
0e channel yes login          0f channel yes login           11 message no cancel_failed
13 message no replace_failed  14 channel yes throttled       15 account no service_id
33 message no protocol_fault  34 message no protocol_fault   40 message no protocol_fault
42 message no protocol_fault  43 message no protocol_fault   44 message no protocol_fault
45 message yes submit_failed  48 account no src_id           49 account no src_id
50 recipient no bad_number    51 recipient no bad_number     53 channel yes login
54 message no protocol_fault  55 message no protocol_fault   58 channel yes throttled
61 message no protocol_fault  62 message no protocol_fault   63 message no protocol_fault
64 message yes far_end_temporary  65 message no far_end_permanent  66 message no far_end_refused
67 message no query_failed    c0 message no protocol_fault   c1 message no protocol_fault
c2 message no protocol_fault  c3 message no protocol_fault   c4 message no protocol_fault
fe message yes delivery_failure  ff message yes far_end_unknown
"""
SGIP = """
1 channel yes login           2 channel yes session          3 channel yes session
4 channel yes login           5 message no protocol_fault    6 recipient no bad_number
7 message no protocol_fault   8 message no too_long          9 message no protocol_fault
10 account no not_allowed     11 channel yes throttled       21 message yes unreachable_now
22 account no no_route        23 account no no_route         24 account no fee_number
25 recipient yes recipient_unreachable  26 recipient yes recipient_full  27 recipient no bad_number
28 recipient yes recipient_error  29 recipient no bad_number  30 recipient no not_supported
31 recipient no bad_device    32 channel yes far_end_trouble 33 channel yes throttled
88 channel yes throttled
"""
SMGP = """
1 channel yes throttled       2 channel yes session          10 message no protocol_fault
11 message no protocol_fault  12 message no protocol_fault   20 channel yes login
21 channel yes login          22 channel yes login           30 message no protocol_fault
31 message no protocol_fault  32 account no fee_code         33 account no fee_code
34 message no protocol_fault  35 message no protocol_fault   36 message no too_long
37 message no expired         38 message no protocol_fault   39 account no no_route
40 account no fee_code        43 account no service_id       44 message no protocol_fault
45 message no protocol_fault  46 account no src_id           47 recipient no bad_number
48 account no fee_number      49 account no msg_src          58 account no no_route
73 account no service_id      74 account yes hour_not_allowed  75 account yes daily_quota
76 channel yes login
"""


def rows(table: str, base: int) -> list[tuple[int, str, str, str]]:
    words = table.split()
    return [
        (int(words[k], base), words[k + 1], words[k + 2], words[k + 3])
        for k in range(0, len(words), 4)
    ]


TABLES = {
    "smpp": (smpp_results.CODES, rows(SMPP, 16)),
    "sgip": (sgip_results.CODES, rows(SGIP, 10)),
    "smgp": (smgp_results.CODES, rows(SMGP, 10)),
}
EACH = [
    pytest.param(codes, *row, id=f"{name}-{row[0]:#x}")
    for name, (codes, table) in TABLES.items()
    for row in table
]


@pytest.mark.parametrize(("codes", "code", "scope", "retry", "reason"), EACH)
def test_row(codes: Codes, code: int, scope: str, retry: str, reason: str) -> None:
    outcome = codes.outcome_of(code, after=3.0)
    assert isinstance(outcome, Retry if retry == "yes" else Rejected)
    assert (outcome.scope, outcome.code) == (scope, reason)
    shown = f"0x{code:08x}" if codes.base == 16 else str(code)
    assert f"{shown}: " in outcome.detail
    assert codes.is_flow_control(code) == (reason == "throttled")
    if isinstance(outcome, Retry):
        assert outcome.after == (3.0 if reason == "throttled" else 0.0)


@pytest.mark.parametrize("name", TABLES)
def test_no_row_is_missing_here(name: str) -> None:
    codes, table = TABLES[name]
    assert sorted(codes.rules) == sorted(row[0] for row in table)


@pytest.mark.parametrize("name", TABLES)
def test_vendor_codes(name: str) -> None:
    codes, _ = TABLES[name]
    assert codes.outcome_of(0x4FF).code == "vendor_refused"
    for word, rule in CLASSES.items():
        outcome = codes.outcome_of(0x4FF, {0x4FF: word})
        assert (outcome.scope, outcome.code) == (rule.scope, rule.code)
        assert isinstance(outcome, Retry) == rule.retry


@pytest.mark.parametrize(
    ("state", "error", "expected", "words"),
    [
        (0, 0, "delivered", ""),
        (1, 0, None, ""),
        (2, 26, "undelivered", "26 handset memory full"),
        (2, 99, "undelivered", "99 vendor code, message refused"),
        (7, 0, "unknown", ""),
    ],
)
def test_sgip_report(state: int, error: int, expected: str | None, words: str) -> None:
    report = sgip.Report(1, "8613000130000", state, error)
    assert sgip_results.state_of(report) == expected
    assert sgip_results.reason_of(report) == words


def test_stat_words() -> None:
    words = {"DELIVRD": "delivered", "delivrd ": "delivered", "ENROUTE": None, "ACCEPTD": None}
    words |= {
        "UNKNOWN": "unknown",
        "": "unknown",
        "EXPIRED": "undelivered",
        "MK:0001": "undelivered",
    }
    assert {word: state_of(word) for word in words} == words


def test_smgp_errors_are_three_digits() -> None:
    assert len(smgp_results.ERRORS) == 12
    assert all(len(code) == 3 and code.isdecimal() for code in smgp_results.ERRORS)
