"""The numbers of mobile phones and of things in mainland China: which ranges are in use, how long their numbers are, whose network
they were given to. Data, for what a message may be sent to and which supplier takes it.

Ranges as assigned by the ministry (公众电信网网号 and 物联网网号); numbers that have moved to another network keep their range. A range
opened since this table was written is found in `phonenumbers` as soon as that knows it; a line here is the quicker way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Carrier = Literal["mobile", "unicom", "telecom", "broadnet"]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that begin with `prefix` have `digits` digits (after +86). `use`: for whom the range is."""

    prefix: str
    carrier: Carrier
    digits: int = 11
    use: Literal["people", "resold", "things", "satellite"] = "people"


def _ranges(carrier: Carrier, prefixes: str, **more: int | str) -> tuple[Range, ...]:
    return tuple(Range(one, carrier, **more) for one in prefixes.split())  # type: ignore[arg-type]


RANGES: tuple[Range, ...] = (
    *_ranges(
        "mobile",
        "1340 1341 1342 1343 1344 1345 1346 1347 1348 135 136 137 138 139 147 150 151 152 157 158 159 "
        "178 182 183 184 187 188 195 197 198",
    ),
    *_ranges("unicom", "130 131 132 145 155 156 166 175 176 185 186 196"),
    *_ranges("telecom", "133 153 173 177 180 181 189 190 191 193 199"),
    *_ranges("broadnet", "192"),
    *_ranges("mobile", "165 1703 1705 1706", use="resold"),
    *_ranges("unicom", "167 1704 1707 1708 1709 171", use="resold"),
    *_ranges("telecom", "162 1700 1701 1702", use="resold"),
    *_ranges("telecom", "1349 174", use="satellite"),
    # Data cards and things with numbers as long as a phone's; some take short messages.
    *_ranges("mobile", "148 172", use="things"),
    *_ranges("unicom", "146", use="things"),
    *_ranges("telecom", "149", use="things"),
    # Things with numbers of their own length.
    *_ranges("mobile", "10647 10648 144", digits=13, use="things"),
    *_ranges("unicom", "10646 140", digits=13, use="things"),
    *_ranges("telecom", "10649 141", digits=13, use="things"),
)

BY_PREFIX: Mapping[str, Range] = {one.prefix: one for one in RANGES}
_LONGEST = max(len(one.prefix) for one in RANGES)
#: One look for what nearly every request has.
_ASSIGNED = re.compile(
    "|".join(f"{one.prefix}[0-9]{{{one.digits - len(one.prefix)}}}" for one in RANGES), re.ASCII
)


def range_of(number: str) -> Range | None:
    """The range of a number without country code: the longest beginning that is one; its length is not looked at."""
    for size in range(min(len(number), _LONGEST), 0, -1):
        found = BY_PREFIX.get(number[:size])
        if found is not None:
            return found
    return None


def is_assigned(number: str) -> bool:
    """Whether a number without country code is in a range in use and as long as that asks for."""
    return _ASSIGNED.fullmatch(number) is not None
