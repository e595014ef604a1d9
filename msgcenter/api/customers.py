"""`/v1/customers`: who is behind the addresses: wishes, consents, block list, links; every change is audited under the customer.

A customer is the whole tenant's, not one caller's: scope `customers` writes, `read:customers` reads. Answers show the person: all
customers that are linked, as one. Half of the file is the table of routes.

Long because it is the list of the customers' operations: one short handler a route, with its description beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from aiohttp import web

from msgcenter.api.customer_models import (
    CUSTOMER_ID,
    BlockBody,
    ConsentBody,
    CustomerBody,
    CustomerItem,
    CustomersBody,
    EraseBody,
    LinkBody,
    PreferencesBody,
    UnlinkBody,
    address_of,
    ms,
)
from msgcenter.api.customer_views import (
    AuditsView,
    AuditView,
    ConsentsView,
    CustomerResultView,
    CustomersResultView,
    CustomersView,
    CustomerView,
    ErasedView,
    consent_view,
    customer_view,
)
from msgcenter.api.history import CURSOR, LIMIT
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.strict import Invalid, read_item, read_model
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.customers import Block, Consent, Link, Person
from msgcenter.customers.sheet import Claim, Put, Refused, Unknown
from msgcenter.customers.writes import By, CustomerWrites
from protocols.envelope import hashed

_MOST_PROOFS = 1000
_SHOWN_FAULTS = 20


async def put(call: Call) -> web.Response:
    """Make a customer under your own id, or say more of one. What is left out stays. An address that wrote before brings what is
    known of it along; one that is somebody else's is refused, unless `valid_from` says when it changed hands."""
    call.query()
    if not CUSTOMER_ID.fullmatch(call.id):
        raise refused([Fault("id", "customer_id_invalid", call.id)])
    body = await call.model(CustomerBody)

    async def work(request: str) -> tuple[int, bytes]:
        (result,) = await _writes(call).put([_put(call, body, call.id, request)], _by(call))
        if isinstance(result, Refused):
            _refuse(result)
        return 200, _bytes(await _view(call, result))

    return await call.once(_canonical(body), work)


async def put_many(call: Call) -> web.Response:
    """The same for up to 1,000; each is judged by itself, in order. The same batch again changes nothing."""
    call.query()
    raw = await call.body()
    items = _items(raw)

    async def work(request: str) -> tuple[int, bytes]:
        puts = [
            _put(call, item, item.id or "", f"{request}.{number}")
            for number, item in enumerate(items)
            if not isinstance(item, Invalid)
        ]
        results = iter(await _writes(call).put(puts, _by(call)))
        out: list[CustomerResultView] = []
        for item in items:
            if isinstance(item, Invalid):
                out.append(_wrong(call, item.faults))
                continue
            result = next(results)
            if isinstance(result, Refused):
                out.append(_wrong(call, _faults(result)))
            else:
                out.append(CustomerResultView(id=item.id or result.id, ok=True))
        saved = sum(1 for one in out if one.ok)
        return 200, _bytes(CustomersResultView(saved=saved, refused=len(out) - saved, items=out))

    return await call.once(raw, work)


async def one(call: Call) -> web.Response:
    """One customer, with all that are linked to it, and the links."""
    call.query()
    return shown(await _view(call, await _person(call)))


async def many(call: Call) -> web.Response:
    """Whoever has an address (now, or at `at`); or everybody, or everybody with a tag, by id."""
    given = call.query("address", "tag", "cursor")
    deps, now = call.api.deps, call.api.deps.clock.now_ms()
    at = call.time("at") or now
    if "address" not in given:
        tag, cursor = given.get("tag", ""), given.get("cursor", "")
        page = await deps.store.list_customers(tag, cursor, call.limit())
        items = [customer_view(person, now) for person in page.items]
        return shown(CustomersView(items=items, next_cursor=page.next_cursor or None))
    address = address_of(given["address"])
    if isinstance(address, Fault):
        raise refused([address])
    await deps.customers.lookup.catch_up()
    person = (await deps.customers.lookup.many([str(address)], at))[str(address)]
    fits = not given.get("tag") or given["tag"] in person.tag_names
    return shown(CustomersView(items=[customer_view(person, now)] if fits else []))


async def prefer(call: Call) -> web.Response:
    """Replace the preferences. They hold from the next decision on, in every process within a second."""
    call.query()
    body = await call.model(PreferencesBody)
    return await _changed(
        call,
        _canonical(body),
        lambda _: _writes(call).prefer(call.id, body.value(), _by(call)),
        200,
    )


async def consent(call: Call) -> web.Response:
    """Add a piece of evidence; the later word of the customer counts. With `at`, the same again adds nothing."""
    call.query()
    body = await call.model(ConsentBody)
    return await _changed(
        call,
        _canonical(body),
        lambda request: _writes(call).consent(
            call.id, [_consent(call, body, call.id, request)], _by(call)
        ),
        201,
    )


async def consents(call: Call) -> web.Response:
    """All evidence of the customer and of those linked to it, newest first."""
    given = call.query("cursor")
    person = await _person(call)
    page = await call.api.deps.store.list_consents(
        person.members, given.get("cursor", ""), call.limit()
    )
    items = [consent_view(row.consent, row.customer, row.recorded_at) for row in page.items]
    return shown(ConsentsView(items=items, next_cursor=page.next_cursor or None))


async def block(call: Call) -> web.Response:
    """Put on the block list. Level `block`: from the answer on nothing is sent to the person, by any process; what waits is not
    sent either."""
    call.query()
    body = await call.model(BlockBody)
    now = call.api.deps.clock.now_ms()
    if body.until is not None and ms(body.until) <= now:
        raise refused([Fault("until", "time_past", body.until.isoformat())])

    def made(request: str) -> Block:
        name = f"blk_{request.partition('_')[2]}"
        return Block(name, body.level, ms(body.until), body.reason, now, _by(call).who)

    return await _changed(
        call,
        _canonical(body),
        lambda request: _writes(call).block(call.id, made(request), _by(call)),
        201,
    )


async def unblock(call: Call) -> web.Response:
    """Lift a block. What was stopped meanwhile stays unsent."""
    call.query()
    name = call.request.match_info["block"]
    return await _changed(
        call, b"", lambda _: _writes(call).unblock(call.id, name, _by(call)), 200, "block", name
    )


async def link(call: Call) -> web.Response:
    """Two customers are one person: their wishes add up, the strictest of both holds. It can be undone."""
    call.query()
    body = await call.model(LinkBody)

    def made(request: str) -> Link:
        return Link(
            f"lnk_{request.partition('_')[2]}",
            call.id,
            body.with_,
            body.evidence,
            body.confidence,
            body.canonical or "",
            call.api.deps.clock.now_ms(),
            _by(call).who,
        )

    return await _changed(
        call,
        _canonical(body),
        lambda request: _writes(call).link(made(request), _by(call)),
        200,
    )


async def unlink(call: Call) -> web.Response:
    """Undo every link between the two; the answer is the customer as it is then."""
    call.query()
    body = await call.model(UnlinkBody)

    async def work(_: str) -> Person:
        return (await _writes(call).unlink(call.id, body.with_, _by(call)))[0]

    return await _changed(call, _canonical(body), work, 200, "link", body.with_)


async def erase(call: Call) -> web.Response:
    """Forget a person and all its customers. Refusals, blocks and proofs stay, with hashes in the place of names: who writes from
    the address again still meets the refusal. Messages are not touched: they end by their own retention."""
    call.query()
    body = await call.model(EraseBody)

    async def work(_: str) -> tuple[int, bytes]:
        try:
            person = await _writes(call).erase(call.id, _by(call), body.reason)
        except Unknown as error:
            raise Problem("not_found", what="customer", id=call.id) from error
        store = call.api.deps.store
        proofs = (await store.list_consents(person.members, limit=_MOST_PROOFS)).items
        view = ErasedView(
            erased_at=when(person.erased_at) or "",
            ids=list(person.members),
            refusals_kept=sum(1 for one in person.consents if one.state == "withdrawn"),
            proofs_kept=sum(1 for row in proofs if row.consent.proof),
        )
        return 200, _bytes(view)

    return await call.once(_canonical(body), work)


async def audit(call: Call) -> web.Response:
    """Who changed what about this customer, newest first; never the values."""
    given = call.query("cursor")
    page = await call.api.deps.store.list_audit(
        target=call.id, cursor=given.get("cursor", ""), limit=call.limit()
    )
    items = [
        AuditView(
            at=when(row.at) or "",
            who=row.who,
            what=row.what,
            target=row.target,
            detail=dict(row.detail),
        )
        for row in page.items
    ]
    return shown(AuditsView(items=items, next_cursor=page.next_cursor or None))


# -- between the API and the directory ----------------------------------------------------------


def _writes(call: Call) -> CustomerWrites:
    return call.api.deps.customers


def _by(call: Call) -> By:
    return By(call.caller, call.identity.keyid)


def _canonical(
    body: CustomerBody
    | PreferencesBody
    | ConsentBody
    | BlockBody
    | LinkBody
    | UnlinkBody
    | EraseBody,
) -> bytes:
    return body.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _bytes(view: CustomerView | CustomersResultView | ErasedView) -> bytes:
    return view.model_dump_json(exclude_none=True).encode()


async def _person(call: Call) -> Person:
    found = await call.api.deps.store.find_customers([], [call.id])
    if call.id not in found.people:
        raise Problem("not_found", what="customer", id=call.id)
    return found.people[call.id]


async def _view(call: Call, person: Person) -> CustomerView:
    links = await call.api.deps.store.list_links(person.members)
    return customer_view(person, call.api.deps.clock.now_ms(), links)


async def _changed(
    call: Call,
    canonical: bytes,
    change: Callable[[str], Awaitable[Person]],
    status: int,
    what: str = "customer",
    other: str = "",
) -> web.Response:
    """Do it once per Idempotency-Key and show the person."""

    async def work(request: str) -> tuple[int, bytes]:
        try:
            person = await change(request)
        except Unknown as unknown:
            name = str(unknown)
            missing = what if name == other else "customer"
            raise Problem("not_found", what=missing, id=name) from unknown
        except Refused as no:
            _refuse(no)
        return status, _bytes(await _view(call, person))

    return await call.once(canonical, work)


def _refuse(no: Refused) -> NoReturn:
    raise refused(_faults(no)) from no


def _faults(no: Refused) -> list[Fault]:
    return [Fault(one.field, one.code, one.value, one.facts) for one in no.faults]


def _wrong(call: Call, faults: Sequence[Fault]) -> CustomerResultView:
    shown_ = [fault.render(call.language) for fault in faults[:_SHOWN_FAULTS]]
    return CustomerResultView(ok=False, errors=shown_)


def _items(raw: bytes) -> Sequence[CustomerItem | Invalid]:
    """Every item, read or not. Raises Problem when the body is not a batch at all."""
    try:
        return read_model(CustomersBody, raw).customers
    except Invalid as invalid:
        own = [fault for fault in invalid.faults if not fault.field.startswith("customers[")]
        if own:
            raise refused(own) from invalid
        data = invalid.data
    items: list[CustomerItem | Invalid] = []
    for item in data["customers"]:
        try:
            items.append(read_item(CustomerItem, item))
        except Invalid as wrong:
            items.append(wrong)
    return items


def _put(call: Call, body: CustomerBody, customer: str, request: str) -> Put:
    claims = tuple(
        Claim(one.address, ms(one.valid_from), ms(one.valid_to)) for one in body.addresses or ()
    )
    subject = customer or (claims[0].address if claims else "")
    return Put(
        id=customer,
        zone=body.zone,
        city=body.city,
        level=body.level,
        organisation=body.organisation,
        agent=body.agent,
        tags=None if body.tags is None else tuple(body.tags),
        add_tags=tuple(body.add_tags or ()),
        remove_tags=tuple(body.remove_tags or ()),
        addresses=claims,
        preferences=None if body.preferences is None else body.preferences.value(),
        consents=tuple(
            _consent(call, one, subject, f"{request}.{number}")
            for number, one in enumerate(body.consents or ())
        ),
    )


def _consent(call: Call, body: ConsentBody, subject: str, request: str) -> Consent:
    """The id follows from what is said, so that a repeat is the same evidence."""
    at = ms(body.at)
    said = (body.channel, body.category, body.state, at, body.wording, body.source, body.proof)
    name = hashed("consent", subject, *said) if at else hashed("consent", request)
    return Consent(
        f"cst_{name}",
        body.channel,
        body.category,
        body.state,
        at or call.api.deps.clock.now_ms(),
        body.wording,
        body.source,
        body.proof,
        ms(body.keep_until),
        _by(call).who,
    )


_TEXT = {"type": "string"}
_WRITES = ("not_found", "validation_failed", "state_unavailable", "store_unavailable")
_READS = ("not_found", "store_unavailable")
_ONE = "/v1/customers/{id}"

ROUTES = (
    Route(
        "GET",
        "/v1/customers",
        many,
        "Customers, by address, by tag, or all",
        "customers",
        {200: CustomersView},
        scope="read:customers",
        params=(
            Param("address", "who has this address", _TEXT),
            Param(
                "at",
                "with `address`: who had it at this time (RFC 3339); none: now",
                {"type": "string", "format": "date-time"},
            ),
            Param("tag", "only with this tag", _TEXT),
            LIMIT,
            CURSOR,
        ),
        problems=("validation_failed", "store_unavailable"),
    ),
    Route(
        "POST",
        "/v1/customers:batch",
        put_many,
        "Make or change up to 1,000 customers",
        "customers",
        {200: CustomersResultView},
        scope="customers",
        body=CustomersBody,
        writes=True,
        problems=("validation_failed", "store_unavailable", "body_too_large"),
    ),
    Route(
        "PUT",
        _ONE,
        put,
        "Make a customer, or say more of one",
        "customers",
        {200: CustomerView},
        scope="customers",
        body=CustomerBody,
        writes=True,
        problems=("validation_failed", "store_unavailable"),
    ),
    Route(
        "GET",
        _ONE,
        one,
        "One customer",
        "customers",
        {200: CustomerView},
        scope="read:customers",
        problems=_READS,
    ),
    Route(
        "PUT",
        f"{_ONE}/preferences",
        prefer,
        "Do-not-disturb, service messages only, preferred channels",
        "customers",
        {200: CustomerView},
        scope="customers",
        body=PreferencesBody,
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "POST",
        f"{_ONE}/consents",
        consent,
        "Write down that it agreed, or took it back",
        "customers",
        {201: CustomerView},
        scope="customers",
        body=ConsentBody,
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "GET",
        f"{_ONE}/consents",
        consents,
        "The evidence of its consents",
        "customers",
        {200: ConsentsView},
        scope="read:customers",
        params=(LIMIT, CURSOR),
        problems=_READS,
    ),
    Route(
        "POST",
        f"{_ONE}/blocks",
        block,
        "Put it on the block list",
        "customers",
        {201: CustomerView},
        scope="customers",
        body=BlockBody,
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "DELETE",
        f"{_ONE}/blocks/{{block}}",
        unblock,
        "Lift a block",
        "customers",
        {200: CustomerView},
        scope="customers",
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "GET",
        f"{_ONE}/audit",
        audit,
        "Who changed what about it",
        "customers",
        {200: AuditsView},
        scope="read:customers",
        params=(LIMIT, CURSOR),
        problems=("store_unavailable",),
    ),
    Route(
        "POST",
        f"{_ONE}:link",
        link,
        "It and another are one person",
        "customers",
        {200: CustomerView},
        scope="customers",
        body=LinkBody,
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "POST",
        f"{_ONE}:unlink",
        unlink,
        "They are two after all",
        "customers",
        {200: CustomerView},
        scope="customers",
        body=UnlinkBody,
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "POST",
        f"{_ONE}:erase",
        erase,
        "Forget it on request",
        "customers",
        {200: ErasedView},
        scope="customers",
        body=EraseBody,
        body_optional=True,
        writes=True,
        problems=_WRITES,
    ),
)
