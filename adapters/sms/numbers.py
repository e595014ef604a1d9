"""Phone numbers as carriers write them and as we do (E.164 in a `tel:` address)."""

from __future__ import annotations

from protocols.address import Address
from protocols.errors import Malformed

CHINA = "+86"


def to_carrier(address: Address, country_prefix: bool, abroad: str = "00") -> str:
    """The digits a gateway expects: 13…, 8613… with the prefix; 00… (or what `abroad` is) for other
    countries. Raises Malformed for no `tel:`.
    """
    if address.scheme != "tel":
        raise Malformed(f"a short message needs a tel: address, not {address.scheme}:")
    number = address.value
    if number.startswith(CHINA):
        return number[1:] if country_prefix else number[3:]
    return abroad + number[1:]


def from_carrier(digits: str) -> Address | None:
    """E.164 of 13…, 8613…, +8613…, 008613…, 0852…: None for what is no number.

    A number that starts with 1 and has 11 or 13 digits (phones, things) is Chinese, as is a short
    service number.
    """
    text = digits.strip()
    if text.startswith("+"):
        number = text[1:]
    elif text.startswith("00"):
        number = text[2:]
    elif text.startswith("86") and len(text) >= 12:
        number = text
    else:
        number = "86" + text.lstrip("0")
    if not (number.isascii() and number.isdigit()):
        return None
    try:
        return Address.parse(f"tel:+{number}")
    except Malformed:
        return None


def national(digits: str) -> str:
    """13… of any form of a Chinese number, "" for others."""
    address = from_carrier(digits)
    if address is None or not address.value.startswith(CHINA):
        return ""
    return address.value[len(CHINA) :]


def sender_digits(sender: str, default: str) -> str:
    """Src_Id: the digits of the account's own address (`tel:+86106…`, `106…`), else the
    channel's number.
    """
    text = sender.removeprefix("tel:").removeprefix(CHINA).removeprefix("+")
    return text or default
