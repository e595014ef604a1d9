"""Recipients as people write them: `scheme:value` or a bare telephone number becomes a canonical
Address.

The number plan of `phonenumbers` is overlaid by the table of `protocols.numbers`: it refuses valid
Chinese numbers of new ranges and the 13-digit numbers of things (物联网), and its parser costs more
than everything else in a request, so that plain mobile numbers never meet it.
"""

from __future__ import annotations

import re

from msgcenter.api.problems import Fault
from protocols.address import Address
from protocols.errors import Malformed
from protocols.numbers import is_assigned, range_of

_MOBILE = re.compile(r"(?:\+86|0086|86)?(1[0-9]{10}|1[0-9]{12})", re.ASCII)
_SEPARATORS = str.maketrans("", "", " -.()\u00a0\u3000")
_LOOKS_DIALLED = re.compile(r"[+＋]?[0-9０-９][0-9０-９ .()\-]*", re.ASCII)


def read_recipient(text: str, field: str = "to") -> Address | Fault:
    """The address meant by `text`, or what is wrong with it."""
    match = _MOBILE.fullmatch(text.removeprefix("tel:"))
    if match and is_assigned(match[1]):
        return Address("tel", "+86" + match[1])
    scheme, colon, value = text.partition(":")
    if colon and scheme != "tel":
        try:
            return Address.parse(text)
        except Malformed as error:
            return Fault(field, "address_invalid", text, {"why": _why(error)})
    number = value if colon else text
    if not colon and not _LOOKS_DIALLED.fullmatch(number):
        return Fault(field, "address_invalid", text, {"why": "it has no scheme"})
    return _dialled(number, text, field)


def _dialled(number: str, text: str, field: str) -> Address | Fault:
    import phonenumbers

    plain = number.translate(_SEPARATORS)
    match = _MOBILE.fullmatch(plain)
    if match and is_assigned(match[1]):
        return Address("tel", "+86" + match[1])
    if len(plain) > 40:
        return Fault(field, "number_invalid", text, {"why": "too long"})
    try:
        parsed = phonenumbers.parse(plain, "CN")
    except phonenumbers.NumberParseException:
        return Fault(field, "number_invalid", text, {"why": "it cannot be read as a number"})
    if not phonenumbers.is_valid_number(parsed):
        if match and range_of(match[1]) is None:
            return Fault(field, "number_invalid", text, {"why": "no such range is in use"})
        reason = phonenumbers.is_possible_number_with_reason(parsed)
        return Fault(field, "number_invalid", text, {"why": _REASONS.get(reason, "not in use")})
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return Address("tel", e164)


# phonenumbers.ValidationResult, by value: the enumeration is not worth its import
_REASONS = {
    1: "no such country code",
    2: "too few digits",
    3: "too many digits",
    4: "an area code is missing",
    5: "wrong number of digits",
}


def _why(error: Malformed) -> str:
    return str(error).partition(": ")[2] or str(error)
