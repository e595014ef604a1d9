"""Test files of the rules: messages, what is known of them, and the decision that must come out; `msgcenter config test`.

They lie beside the rules as `NAME_test.yaml`, and are run on the rules as they are in the folder: an edit that changes a
decision somebody relies on fails before it is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from msgcenter.config.compiled import window
from msgcenter.config.faults import explain
from msgcenter.config.policy import QuietWindow, ZoneName
from msgcenter.config.problems import ConfigErrors, ConfigProblem, Mark
from msgcenter.config.snapshot import Config
from msgcenter.config.source import parse
from msgcenter.config.values import Duration, Moment, Name, Strict, fault
from msgcenter.config.when import AgentType, PayloadType
from msgcenter.policy import opt_out
from msgcenter.policy.consent import Consent, Refusal
from msgcenter.policy.decide import Asked, Customer, decide
from msgcenter.policy.quiet import Mute, WindowSet, Wishes, zone_of
from msgcenter.policy.when import Facts, Matcher

ENDING = "_test.yaml"


def _organisation(text: str) -> str:
    if len(text.split("/")) > 5:
        raise fault("has more than 5 levels", "write it like 广东/广州/天河/珠江新城/体育西厅")
    return text


class Sent(Strict):
    """A message to be sent."""

    category: Name
    """Its category."""
    channel: Name = Field(description="the channel kind")
    payload: PayloadType = "text"
    """The type of content."""
    text: str = ""
    """What it says."""
    caller: str = ""
    """Who sends it."""
    campaign: str = ""
    """Its campaign."""
    tags: tuple[str, ...] = ()
    """Its tags."""
    organisation: Annotated[str, AfterValidator(_organisation)] = Field(
        default="", description="of the sending account"
    )
    agent: AgentType | None = None
    """Type of agent of the sender."""
    number: str = Field(default="", description="access number it is sent from")
    person: str = ""
    """Who counts and shares are made by."""
    id: str = "msg_test"
    """The message's id, for shares."""
    held_since: Moment | None = None
    """When it was first held."""
    expires_in: Duration | None = Field(default=None, description="none: never")


class Received(Strict):
    """A text that came in."""

    number: str = Field(description="access number with extension, or the account's name there")
    text: str
    """What the customer wrote."""
    channel: Name | None = Field(default=None, description="kind of the channel it came by")


class MuteGiven(Strict):
    until: Moment
    """The end of it."""
    channels: tuple[Name, ...] = ()
    """Kinds; none: all."""


class WindowGiven(QuietWindow):
    channels: tuple[Name, ...] = ()
    """Kinds; none: all."""


class ConsentGiven(Strict):
    channel: str = "*"
    """For this kind; none: all."""
    category: str = "*"
    """For this category; none: all."""
    at: Moment
    """When it was given."""
    state: Literal["granted", "withdrawn"] = "granted"
    """Given or withdrawn."""
    wording: str = ""
    """The words that were agreed to."""
    source: str = ""
    """Where."""
    proof: str = ""
    """What proves it."""
    keep_until: Moment | None = None
    """Until when the proof is kept."""


class RefusalGiven(Strict):
    channel: str = "*"
    """On this kind; none: all."""
    category: str = "*"
    """Of this category; none: all that an opt-out stops."""
    at: Moment
    """When."""
    number: str = ""
    """The access number that was written to."""


class CustomerGiven(Strict):
    """What is known of the recipient; nothing, when left out."""

    zone: ZoneName | None = None
    """The customer's clock."""
    level: str = ""
    """Of membership."""
    tags: tuple[str, ...] = ()
    """Tags."""
    organisation: Annotated[str, AfterValidator(_organisation)] = ""
    """省/地市/区县/网格/厅店."""
    agent: AgentType | None = None
    """Type of agent."""
    service_only: bool = False
    """Wants service messages alone."""
    mutes: tuple[MuteGiven, ...] = ()
    """Do-not-disturb of whole channels until a time."""
    windows: tuple[WindowGiven, ...] = ()
    """The customer's own quiet hours."""
    consents: tuple[ConsentGiven, ...] = ()
    """Evidence of consent."""
    refusals: tuple[RefusalGiven, ...] = ()
    """Opt-outs."""


class Expected(Strict):
    """What must come out; only what is given is compared."""

    outcome: (
        Literal["send", "wait", "downgrade", "review", "refuse", "out", "back", "pass"] | None
    ) = None
    """What becomes of it."""
    code: str | None = None
    """The reason code."""
    rule: str | None = None
    """The rule that decided."""
    until: Moment | None = Field(default=None, description="no earlier and no later")
    from_: Moment | None = Field(
        default=None, alias="from", description="for a spread release: no earlier"
    )
    before: Moment | None = Field(default=None, description="for a spread release: earlier")
    to: str | None = None
    """The kind tried instead."""
    text: str | None = None
    """The text after masking."""
    caps: tuple[Name, ...] | None = Field(default=None, description="caps it falls under")
    via: Name | None = Field(default=None, description="the channel that routes.yaml gives it")
    route: str | None = Field(default=None, description="the route that decides this")

    @model_validator(mode="after")
    def _some(self) -> Expected:
        if not self.model_fields_set:
            raise fault("expects nothing", "add `outcome: send`, or `via: CHANNEL`")
        return self


class Case(Strict):
    name: str = Field(min_length=1)
    """What it shows."""
    at: Moment | None = None
    """The moment of the decision."""
    send: Sent | None = None
    """A message that is sent."""
    receive: Received | None = None
    """A message that comes in, instead of `send`."""
    customer: CustomerGiven = CustomerGiven()
    """Who it is for."""
    expect: Expected
    """What must be decided."""

    @model_validator(mode="after")
    def _one(self) -> Case:
        if (self.send is None) == (self.receive is None):
            raise fault("needs either send or receive", "remove one, or add the other")
        if self.send is not None and self.at is None:
            raise fault("has no time", "add `at: 2026-03-05T22:30:00+08:00`")
        return self


class Suite(Strict):
    """`NAME_test.yaml`."""

    tests: tuple[Case, ...] = ()
    """Cases, each with one decision."""


@dataclass(frozen=True, slots=True)
class Result:
    """One test. `differences`: what came out otherwise, each `key: expected …, got …`; empty: it passed."""

    mark: Mark
    name: str
    differences: tuple[str, ...]


def suite_files(folder: Path) -> list[Path]:
    """The test files beside the rules, in order of name."""
    return sorted(path for path in folder.glob(f"*{ENDING}") if path.is_file())


def run(config: Config, file: Path) -> list[Result]:
    """Every test of a file against the rules of `config`. Raises ConfigErrors if the file is not a test file."""
    problems: list[ConfigProblem] = []
    try:
        data = file.read_bytes()
    except OSError as e:
        problem = ConfigProblem(
            Mark(file.name), "", f"cannot be read: {e.strerror}", "name another"
        )
        raise ConfigErrors([problem]) from e
    node = parse(data, file.name, problems)
    if node is None or problems:
        raise ConfigErrors(problems)
    try:
        suite = Suite.model_validate(node.plain())
    except ValidationError as e:
        raise ConfigErrors(explain(e, Suite, node)) from e
    return [
        Result(node.at(("tests", i)), case.name, tuple(_differences(case, came_out(config, case))))
        for i, case in enumerate(suite.tests)
    ]


def came_out(config: Config, case: Case) -> dict[str, Any]:
    """What the rules say of a case, under the keys of `Expected`."""
    if case.receive is not None:
        came = case.receive
        command = opt_out.read(config.rules.opt_out, came.number, came.text, came.channel or "")
        if command is None:
            return {"outcome": "pass"}
        return {"outcome": command.action, "rule": command.rule, "text": command.answer}
    sent, at = case.send, case.at
    assert sent is not None and at is not None
    customer = case.customer
    own, theirs = _path(sent.organisation), _path(customer.organisation)
    organisation = theirs if theirs[: len(own)] == own else own
    facts = Facts(
        category=sent.category,
        tags=frozenset((*sent.tags, *customer.tags)),
        level=customer.level,
        organisation=organisation,
        agent=sent.agent or customer.agent or "",
        caller=sent.caller,
        campaign=sent.campaign,
        channel=sent.channel,
        payload=sent.payload,
        person=sent.person,
        at=at,
        zone=zone_of(config.rules.quiet, customer.zone or "", organisation).zone,
    )
    asked = Asked(
        facts,
        message=sent.id,
        text=sent.text,
        number=sent.number,
        since=sent.held_since or at,
        expires_at=at + round(sent.expires_in * 1000) if sent.expires_in is not None else 0,
    )
    ruling = decide(config.rules, asked, _customer(customer))
    way = config.rules.routing.choose(sent.channel, facts)
    return {
        "outcome": ruling.outcome,
        "code": ruling.code,
        "rule": ruling.rule,
        "until": ruling.until,
        "to": ruling.to,
        "text": ruling.text,
        "caps": tuple(config.rules.caps_for(facts)),
        "via": way.channel if way else "",
        "route": way.rule if way else "",
    }


def _path(organisation: str) -> tuple[str, ...]:
    return tuple(organisation.split("/")) if organisation else ()


def _customer(given: CustomerGiven) -> Customer:
    windows = tuple(
        WindowSet("customer.window", (window(entry),), Matcher(channels=frozenset(entry.channels)))
        for entry in given.windows
    )
    return Customer(
        wishes=Wishes(
            windows=windows,
            mutes=tuple(Mute(mute.until, frozenset(mute.channels)) for mute in given.mutes),
            service_only=given.service_only,
            zone=given.zone or "",
        ),
        consents=[
            Consent(**{**one.model_dump(), "keep_until": one.keep_until or 0})
            for one in given.consents
        ],
        refusals=[
            Refusal(one.channel, one.category, one.at, "", one.number) for one in given.refusals
        ],
    )


def _differences(case: Case, came: dict[str, Any]) -> Iterator[str]:
    want = case.expect
    for key in ("outcome", "code", "rule", "until", "to", "text", "caps", "via", "route"):
        expected, got = getattr(want, key), came.get(key)
        if expected is None:
            continue
        if key == "caps":
            expected, got = sorted(expected), sorted(got or ())
        if expected != got:
            yield f"{key}: expected {_shown(key, expected)}, got {_shown(key, got)}"
    until = int(came.get("until") or 0)
    if want.from_ is not None and until < want.from_:
        yield f"until: expected not before {_time(want.from_)}, got {_time(until)}"
    if want.before is not None and not 0 < until < want.before:
        yield f"until: expected before {_time(want.before)}, got {_time(until)}"


def _shown(key: str, value: Any) -> str:
    if key == "until":
        return _time(int(value or 0))
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value or "nothing")


def _time(ms: int) -> str:
    return f"{Facts(at=ms).local():%Y-%m-%dT%H:%M:%S%z}" if ms else "never"
