"""How a conversation and its people are called, the same by whichever source it is heard: live from a hosted account, or from the archive.

`wecom:<corp>/<external_userid>` is a customer. An external_userid is the same for all of a corp's own apps (only a provider's
suite sees another), so no app stands in between: what one app, the archive and a hosted account tell of is one customer.
A customer group, and a group of members, is `group:<roomid>`. Between two members, and between a member and a customer, the
conversation is the two of them; in a group it is the group, whoever of us is in it.
"""

from __future__ import annotations

from protocols.address import Address


def order_key(corp: str, account_userid: str, peer_id_or_roomid: str) -> str:
    """The conversation of a member with somebody, or of a group: then `account_userid` is "".

    Which of the two is named first does not matter, and neither does upper or lower case, which WeCom changes in userids.
    """
    if not account_userid:
        return f"wecom|{corp}||{peer_id_or_roomid}"
    first, second = sorted((account_userid.lower(), peer_id_or_roomid.lower()))
    return f"wecom|{corp}|{first}|{second}"


OUTSIDE = ("wm", "wo")
"""How an external_userid begins. A member's userid may begin so as well: of our own accounts we know better."""


def customer_address(corp: str, external_userid: str) -> Address:
    """Of somebody outside the corp."""
    return Address("wecom", f"{corp}/{external_userid}")


def room_address(roomid: str) -> Address:
    """Of a group."""
    return Address("group", roomid)
