"""Numbers: every range in use is known with its length and network, at the API as in the routing, and what is not in use is refused."""

from __future__ import annotations

import pytest

from adapters.sms.carriers import carrier_of
from msgcenter.api.problems import Fault
from msgcenter.api.recipient import read_recipient
from protocols.address import Address
from protocols.numbers import RANGES, is_assigned, range_of

PEOPLE = {
    "mobile": "134 135 136 137 138 139 147 150 151 152 157 158 159 178 182 183 184 187 188 195 197 198 165 1703 1705 1706",
    "unicom": "130 131 132 145 155 156 166 175 176 185 186 196 167 1704 1707 1708 1709 171",
    "telecom": "133 153 173 177 180 181 189 190 191 193 199 162 1700 1701 1702",
    "broadnet": "192",
}
THINGS = {
    "1064612345678": "unicom", "1064712345678": "mobile", "1064812345678": "mobile",
    "1064912345678": "telecom", "1400123456789": "unicom", "1410123456789": "telecom",
    "1440123456789": "mobile",
}  # fmt: skip
CASES = [
    *[(prefix.ljust(11, "2"), who) for who, found in PEOPLE.items() for prefix in found.split()],
    *THINGS.items(),
]


@pytest.mark.parametrize(("number", "carrier"), CASES)
def test_every_range_in_use(number: str, carrier: str) -> None:
    assert is_assigned(number)
    assert carrier_of(number) == carrier
    for written in (number, f"+86{number}", f"86{number}", f"0086{number}", f"tel:+86{number}"):
        assert read_recipient(written) == Address("tel", f"+86{number}"), written
    spaced = f"+86 {number[:3]} {number[3:7]}-{number[7:]}"
    assert read_recipient(spaced) == Address("tel", f"+86{number}")


@pytest.mark.parametrize(
    "number",
    ["12345678901", "16012345678", "17912345678", "1380013800", "138001380000", "1380013800000",
     "10641234567", "1064512345678", "106471234567", "14001234567", "1950013800"],
)  # fmt: skip
def test_what_is_not_in_use_or_too_long_is_refused(number: str) -> None:
    assert not is_assigned(number)
    found = read_recipient(number)
    assert isinstance(found, Fault)
    assert (found.code, found.value) == ("number_invalid", number)


def test_no_range_stands_twice_and_the_longest_wins() -> None:
    prefixes = [one.prefix for one in RANGES]
    assert len(set(prefixes)) == len(prefixes)
    found = range_of("13490000000")
    assert found is not None
    assert (found.prefix, found.use) == ("1349", "satellite")
    assert range_of("12345678901") is None
    assert range_of("") is None
