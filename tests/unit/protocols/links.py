"""The carrier links side by side, as the shared suite sees them: a pair that is logged in, a request
each way and its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocols.sgip import link as sgip_link
from protocols.sgip import pdu as sgip
from protocols.smgp import link as smgp_link
from protocols.smgp import pdu as smgp
from protocols.smpp import link as smpp_link
from protocols.smpp import pdu as smpp
from protocols.sms.events import LoggedIn, LoginRequested
from protocols.sms.link import Link
from protocols.sms.terms import Role

from .codecs import SGIP, SMGP, SMPP, Codec

STAMP = 1121093015
NODE = 3010000001


@dataclass(frozen=True)
class Kind:
    """`fresh(role, **options)` makes one end, `login(client)` sends its login, `accept(server,
    sequence)` grants it.
    """

    codec: Codec
    fresh: Callable[..., Any]
    login: Callable[[Any], None]
    accept: Callable[[Any, int], None]
    submit: Any
    submit_resp: Any
    deliver: Any
    deliver_resp: Any
    test: Any
    end: Any
    end_resp: Any

    def __str__(self) -> str:
        return self.codec.name

    def pair(self, **options: Any) -> tuple[Link, Link]:
        client, server = self.fresh(Role.CLIENT, **options), self.fresh(Role.SERVER, **options)
        self.login(client)
        [asked] = server.receive_data(client.data_to_send(), 0)
        assert isinstance(asked, LoginRequested)
        self.accept(server, asked.sequence)
        [done] = client.receive_data(server.data_to_send(), 0)
        assert isinstance(done, LoggedIn) and done.trusted
        return client, server


SMPP_KIND = Kind(
    SMPP,
    lambda role, **o: smpp_link.Link(role, smpp_link.LinkOptions(**o)),
    lambda link: link.login(smpp.Bind(smpp.Mode.TRANSCEIVER, "esme", "pw"), 0),
    lambda link, sequence: link.accept(sequence, "SMSC"),
    smpp.SubmitSm("10657", "8613800138000", b"hi"),
    smpp.SubmitSmResp("77"),
    smpp.DeliverSm("8613800138000", "10657", b"R"),
    smpp.DeliverSmResp(),
    smpp.EnquireLink(),
    smpp.Unbind(),
    smpp.UnbindResp(),
)
SMGP_KIND = Kind(
    SMGP,
    lambda role, **o: smgp_link.Link(role, smgp_link.LinkOptions(**o)),
    lambda link: link.login("12345678", "shared", STAMP, 0),
    lambda link, sequence: link.accept(sequence, "shared"),
    smgp.Submit(("18900189000",), b"hi", "1189012345"),
    smgp.SubmitResp("01010111210930000007"),
    smgp.Deliver("01010111210930000008", "18900189000", "1189012345", b"R"),
    smgp.DeliverResp("01010111210930000008"),
    smgp.ActiveTest(),
    smgp.Exit(),
    smgp.ExitResp(),
)


def _sgip(role: Role, **options: Any) -> sgip_link.Link:
    return sgip_link.Link(role, NODE, lambda: STAMP, sgip_link.LinkOptions(**options))


def _sgip_kind(login_type: sgip.LoginType, ask: Any, answer: Any) -> Kind:
    return Kind(
        SGIP, _sgip,
        lambda link: link.login(sgip.Bind("333", "0555", login_type), 0),
        lambda link, sequence: link.accept(sequence),
        ask, answer, None, None, None, sgip.Unbind(), sgip.UnbindResp(),
    )  # fmt: skip


#: The SP's connection, and the gateway's to the SP.
SGIP_SUBMIT = _sgip_kind(
    sgip.LoginType.SP_TO_SMG,
    sgip.Submit("1065512345", ("8613000130000",), b"hi", "00001"),
    sgip.SubmitResp(),
)
SGIP_REPORT = _sgip_kind(
    sgip.LoginType.SMG_TO_SP, sgip.Report(7, "8613000130000", 0), sgip.ReportResp()
)
KINDS = (SMPP_KIND, SGIP_SUBMIT, SGIP_REPORT, SMGP_KIND)
