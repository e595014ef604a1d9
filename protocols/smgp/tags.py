"""The optional parameters of SMGP 3.0 by tag, with the lengths their values may have (6.3)."""

from __future__ import annotations

from collections.abc import Mapping

from protocols.sms.tlv import Tag

TP_PID = 0x0001
TP_UDHI = 0x0002
LINK_ID = 0x0003
PK_TOTAL = 0x0009
PK_NUMBER = 0x000A
MSG_SRC = 0x0010

TAGS: Mapping[int, Tag] = {
    TP_PID: Tag("TP_pid", 1, 1),
    TP_UDHI: Tag("TP_udhi", 1, 1),
    LINK_ID: Tag("LinkID", 20, 20),
    0x0004: Tag("ChargeUserType", 1, 1),
    0x0005: Tag("ChargeTermType", 1, 1),
    0x0006: Tag("ChargeTermPseudo", 0, 255),
    0x0007: Tag("DestTermType", 1, 1),
    0x0008: Tag("DestTermPseudo", 0, 255),
    PK_TOTAL: Tag("PkTotal", 1, 1),
    PK_NUMBER: Tag("PkNumber", 1, 1),
    0x000B: Tag("SubmitMsgType", 1, 1),
    0x000C: Tag("SPDealResult", 1, 1),
    0x000D: Tag("SrcTermType", 1, 1),
    0x000E: Tag("SrcTermPseudo", 0, 255),
    0x000F: Tag("NodesCount", 1, 1),
    MSG_SRC: Tag("MsgSrc", 8, 8),
    0x0011: Tag("SrcType", 1, 1),
    0x0012: Tag("MServiceID", 21, 21),
}
