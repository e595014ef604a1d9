"""What a kf account asks of WeCom: messages with their media uploaded first, and any call as that account's own, not its neighbours'."""

from __future__ import annotations

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contents import Need, is_ours
from adapters.wecom.kf.contents import body_of, needs
from adapters.wecom.kf.pull import OF_ACCOUNT
from adapters.wecom.kf.settings import WeComKfSettings
from adapters.wecom.media import FormMaker, Uploads
from msgcenter.adapter import Dispatch, Malformed, Port
from protocols.address import Address
from protocols.payload import Payload
from protocols.wecom import answers, kf


class KfCalls:
    """One app's calls for its kf accounts; `api` is open while the channel's session is."""

    def __init__(self, settings: WeComKfSettings, port: Port) -> None:
        self.settings = settings
        self.port = port
        self.api = WeComApi(settings, port)
        self._uploads = Uploads(port, self._upload)

    async def send(self, payload: Payload, item: Dispatch) -> answers.Answer:
        """One kf/send_msg; media that WeCom forgot are uploaded once more. Raises Refusal, Malformed."""
        open_kfid, customer = parties_of(item)
        wanted = needs(payload)

        async def once() -> answers.Answer:
            body = body_of(payload, await self._uploads.media_ids(wanted))
            request = kf.send(open_kfid, customer, body, item.token)
            return await self.call("kf/send_msg", request, open_kfid)

        try:
            return await once()
        except Refusal as refusal:
            if refusal.errcode != 40007 or not any(is_ours(media) for _, media in wanted):
                raise
        await self._uploads.forget(wanted)
        return await once()

    async def call(
        self, api: str, request: bytes, open_kfid: str, *, sends: bool = True
    ) -> answers.Answer:
        """A call for one account, whose own trouble is not that of the others. Raises Refusal."""
        return await self.api.post(api, request, sends=sends, part=open_kfid, own=OF_ACCOUNT)

    async def _upload(self, need: Need, form: FormMaker) -> answers.Answer:
        return await self.api.upload("media/upload", {"type": need[0]}, form)


def parties_of(item: Dispatch) -> tuple[str, str]:
    """(open_kfid, external_userid). Raises Malformed when the message is from another account than the address is of."""
    open_kfid, customer = parties(item.envelope.to)
    if item.sender and item.sender != open_kfid:
        raise Malformed(
            f"account {item.envelope.account} is {item.sender}, but {open_kfid} is written to: "
            "name the account that the customer's address begins with"
        )
    return open_kfid, customer


def parties(to: Address) -> tuple[str, str]:
    """The open_kfid and the external_userid of an address. Raises Malformed."""
    open_kfid, slash, customer = to.value.partition("/")
    if to.scheme != "kf" or not (open_kfid and slash and customer):
        raise Malformed(f"wecom-kf reaches kf:<open_kfid>/<external_userid>, not {str(to)[:60]!r}")
    return open_kfid, customer


__all__ = ["KfCalls", "parties", "parties_of"]
