"""The bodies of `/v1/customers`: what a caller may say of a customer, strictly, and the same as values of the directory."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, ClassVar, Literal, cast
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, JsonValue

from msgcenter.api.body import Body, wrong
from msgcenter.api.models import Word
from msgcenter.api.problems import Fault
from msgcenter.api.recipient import read_recipient
from msgcenter.customers import ANY, Mute, Preferences, Window
from protocols.address import Address

CUSTOMER_ID = re.compile(r"[^\s\x00-\x1f\x7f/:{}?#%|]{1,128}")
MOST_ADDRESSES, MOST_WINDOWS, MOST_BATCH = 50, 50, 1000
_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$"
#: What an address of a person may be: the others name no customer.
SCHEMES = ("tel", "wecom", "kf", "gridapp", "staff")


def _zone(name: str) -> str:
    if name:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise wrong("zone_unknown") from error
    return name


def _path(text: str) -> str:
    parts = text.split("/") if text else []
    if len(parts) > 5 or any(not part.strip() for part in parts):
        raise wrong("path_invalid")
    return text


def _address(text: str) -> str:
    read = read_recipient(text)
    if isinstance(read, Fault):
        raise wrong(read.code, **read.facts)
    if read.scheme not in SCHEMES:
        raise wrong("address_no_person", known=", ".join(SCHEMES))
    return str(read)


def _id(text: str) -> str:
    if not CUSTOMER_ID.fullmatch(text):
        raise wrong("customer_id_invalid")
    return text


def ms(at: datetime | None) -> int:
    """Epoch milliseconds, 0 for none."""
    return max(1, round(at.timestamp() * 1000)) if at is not None else 0


def _example(**body: object) -> ConfigDict:
    """A whole body as it may be, for the reader of /openapi.json."""
    return ConfigDict(json_schema_extra={"examples": [cast(JsonValue, body)]})


AddressText = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_address)]
CustomerId = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_id)]
TagName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Plain = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
Note = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Kinds = Annotated[list[Word], Field(max_length=8)]
Tags = Annotated[list[TagName], Field(max_length=200)]
ClockTime = Annotated[str, Field(pattern=_CLOCK)]


class AddressBody(Body):
    """An address the customer has, or had."""

    address: AddressText = Field(examples=["tel:+8613800138000"])
    valid_from: AwareDatetime | None = Field(
        None, description="when a number that was somebody else's became this customer's"
    )
    valid_to: AwareDatetime | None = Field(None, description="when it ceased to be")


class WindowBody(Body):
    """Every day (or on `days`) from `start` to `end` of the customer's local time; an end before the start is on the next day."""

    start: ClockTime = Field(examples=["22:00"])
    end: ClockTime = Field(examples=["08:00"])
    days: Annotated[list[Annotated[int, Field(ge=1, le=7)]], Field(max_length=7)] | None = Field(
        None, description="1 = Monday; none: every day"
    )
    channels: Kinds | None = Field(None, description="kinds of channels; none: all")


class MuteBody(Body):
    """Not now."""

    until: AwareDatetime
    channels: Kinds | None = Field(None, description="kinds of channels; none: all")


class PreferencesBody(Body):
    """All of a customer's wishes: what is left out is not wished any more."""

    model_config = _example(
        windows=[{"start": "22:00", "end": "08:00", "channels": ["sms"]}],
        mutes=[{"until": "2099-01-01T20:00:00+08:00"}],
        service_only=False,
        channels=["wecom-app", "sms"],
    )

    __nested__: ClassVar[tuple[str, ...]] = ("windows", "mutes")

    windows: Annotated[list[WindowBody], Field(max_length=MOST_WINDOWS)] | None = Field(
        None, description="standing do-not-disturb"
    )
    mutes: Annotated[list[MuteBody], Field(max_length=MOST_WINDOWS)] | None = Field(
        None, description="temporary do-not-disturb"
    )
    service_only: bool = Field(False, description="service messages only")
    channels: Kinds | None = Field(None, description="kinds it would rather be reached by")

    def value(self) -> Preferences:
        windows = {
            Window(
                _minutes(one.start),
                _minutes(one.end),
                tuple(sorted(set(one.days or ()))),
                tuple(sorted(set(one.channels or ()))),
            )
            for one in self.windows or ()
        }
        mutes = {
            Mute(ms(one.until), tuple(sorted(set(one.channels or ())))) for one in self.mutes or ()
        }
        preferred = tuple(dict.fromkeys(self.channels or ()))
        return Preferences(
            tuple(sorted(windows)), tuple(sorted(mutes)), self.service_only, preferred
        )


class ConsentBody(Body):
    """One thing the customer agreed to, or takes back."""

    model_config = _example(
        state="granted",
        channel="sms",
        category="marketing",
        at="2026-01-31T09:30:00+08:00",
        wording="v3",
        source="营业厅 0755-12",
        proof="form-20260131-77",
        keep_until="2027-01-31T00:00:00+08:00",
    )

    state: Literal["granted", "withdrawn"]
    channel: Word = Field(ANY, description="a kind of channel; * = all")
    category: Word = Field(ANY, description="a category; * = all")
    at: AwareDatetime | None = Field(None, description="when the customer said so; none: now")
    wording: Plain = Field("", description="version of the text agreed to")
    source: Note = Field("", description="where: a hall, a page, an SMS")
    proof: Note = Field("", description="id of the proof there")
    keep_until: AwareDatetime | None = Field(None, description="how long the proof must be kept")


class CustomerBody(Body):
    """What is known of a customer. What is left out stays as it was; an empty text takes it away."""

    model_config = _example(
        zone="Asia/Shanghai",
        city="广州",
        level="gold",
        organisation="广东/广州/天河",
        tags=["5G", "vip"],
        addresses=[{"address": "tel:+8613800138000"}],
    )

    __nested__: ClassVar[tuple[str, ...]] = ("addresses", "preferences", "consents")

    zone: Annotated[Plain, AfterValidator(_zone)] | None = Field(
        None, description="IANA time zone", examples=["Asia/Shanghai"]
    )
    city: Plain | None = Field(None, examples=["广州"])
    level: Plain | None = Field(None, examples=["gold"])
    organisation: (
        Annotated[
            str,
            Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
            AfterValidator(_path),
        ]
        | None
    ) = Field(None, description="省/地市/区县/网格/厅店", examples=["广东/广州/天河"])
    agent: Literal["", "own", "partner", "field", "campus"] | None = Field(
        None, description="what kind of staff serves it"
    )
    tags: Tags | None = Field(None, description="all tags that this caller gives it")
    add_tags: Tags | None = Field(None, description="tags in addition")
    remove_tags: Tags | None = Field(None, description="tags taken away, whoever gave them")
    addresses: Annotated[list[AddressBody], Field(max_length=MOST_ADDRESSES)] | None = Field(
        None, description="in addition to those it has; one ends by its valid_to"
    )
    preferences: PreferencesBody | None = None
    consents: Annotated[list[ConsentBody], Field(max_length=MOST_ADDRESSES)] | None = Field(
        None, description="further evidence; with `at`, the same again adds nothing"
    )


class CustomerItem(CustomerBody):
    """One of a batch."""

    id: CustomerId | None = Field(None, description="none: the customer of the first address")


class CustomersBody(Body):
    """Up to 1,000 customers, each judged by itself."""

    __nested__: ClassVar[tuple[str, ...]] = ("customers",)

    customers: Annotated[list[CustomerItem], Field(min_length=1, max_length=MOST_BATCH)]


class BlockBody(Body):
    """Put a customer on the block list."""

    model_config = _example(level="block", until="2099-01-01T00:00:00+08:00", reason="投诉")

    level: Literal["slow", "mute", "block"] = Field(
        description="slow: fewer messages are taken; mute: archived, not routed; block: nothing passes, either way"
    )
    until: AwareDatetime | None = Field(None, description="none: until it is lifted")
    reason: Note = ""


class LinkBody(Body):
    """Evidence that two customers are one person."""

    model_config = _example(**{"with": "crm-20077", "evidence": "unionid", "confidence": 0.95})

    with_: CustomerId = Field(alias="with", description="id of the other")
    evidence: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        examples=["unionid", "operator"]
    )
    confidence: Annotated[float, Field(ge=0, le=1, strict=False)] = 1.0
    canonical: CustomerId | None = Field(
        None, description="the id that shall stand for both; none: the older that a caller gave"
    )


class UnlinkBody(Body):
    """Undo the links between two customers."""

    with_: CustomerId = Field(alias="with", description="id of the other")


class EraseBody(Body):
    """Forget a customer. It cannot be undone."""

    reason: Note = Field("", description="for the audit log")


def address_of(text: str) -> Address | Fault:
    """An address given in a query."""
    return read_recipient(text, "address")


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
