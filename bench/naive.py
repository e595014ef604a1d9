"""The baseline: a middleware that keeps the product's promises over the same hops, but handles each message by itself.

Four processes, as the product has: `api` (HTTP, one confirmed persistent publish to a quorum queue a message, status in Redis,
then 202), `router` (claim and status in one Redis call, confirmed publishes to the channel's queue and of the record of what was
decided, ack), `channel` (claim in Redis, the same SMS adapter, outcome, status and correlation in one Redis call, record
published and confirmed, ack), `archive` (one transaction a record with the same Store, and one for the event that callers read).
Both sides leave the very same rows: a message, two records, one event. It is written the way a good asyncio service is:
everything runs concurrently up to its prefetch, every call is as lean as its promise allows, codecs, drivers and statements are
the product's own. It does without suppressions, expiry, lanes, retries, quotas and metrics, so a ratio against it flatters nobody.

`python -m bench.naive ROLE` with its settings in the environment (see `Settings`).

Four small processes in one file, so that the whole baseline can be read and judged in one go.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Literal, cast

import aio_pika
import aiohttp
import structlog
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.asyncio import BlockingConnectionPool, Redis

from adapters.sms import Sms
from adapters.sms.settings import SmsSettings
from msgcenter.adapter import Dispatch, Port, Received, Report, Secret, Subscriber, Unreachable
from msgcenter.archive.events_sink import event_of
from msgcenter.bus.topology import partition_of
from msgcenter.clock import Clock, IdFactory, SystemClock, system_random
from msgcenter.serve import quiet_collector
from msgcenter.status import Meta
from msgcenter.store.store import Store
from protocols import wire
from protocols.address import Address
from protocols.envelope import Decision, Envelope, Record
from protocols.outcome import Outcome, Routed, Sent, Unknown
from protocols.payload import Text

Role = Literal["api", "router", "channel", "archive"]
ROLES: tuple[Role, ...] = ("api", "router", "channel", "archive")
SUBMIT, OUT, RECORD = "naive.submit", "naive.out", "naive.record"
KEPT_MS = 3 * 86_400_000
PREFETCH = 100
PARTITIONS = 4
PUBLISHES_OF_A_BATCH = 100

ACCEPTED = """
redis.call('HSET', KEYS[1], 'meta', ARGV[1], 'view', 'accepted')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
ROUTE = """
if redis.call('HSETNX', KEYS[1], 'o:submit', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'view', 'queued')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""
CLAIM = """
local outcome = redis.call('HGET', KEYS[1], 'o:channel')
if outcome then return {'done', outcome} end
if redis.call('HSETNX', KEYS[1], 'c:channel', ARGV[1]) == 0 then return {'claimed', ''} end
return {'go', ''}
"""
CONCLUDE = """
redis.call('HSET', KEYS[1], 'o:channel', ARGV[1], 'view', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for at = 2, #KEYS do redis.call('SET', KEYS[at], ARGV[4], 'PX', ARGV[3]) end
"""


class Settings(BaseModel):
    """From the environment variable `NAIVE`, as JSON."""

    rabbit: str
    redis: str
    postgres: str
    port: int
    key_hash: str
    """SHA-256 of the one API key, in hex."""
    far_end: int
    account: str
    secret: str
    window: int


class Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["text"]
    text: str = Field(min_length=1, max_length=2000)


class Post(BaseModel):
    """One message as posted."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    to: str = Field(pattern=r"^tel:\+[0-9]{6,15}$")
    category: Literal["transactional"]
    channels: list[Literal["sms"]] = Field(min_length=1, max_length=1)
    content: Content
    reference: str = Field(default="", max_length=64)


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    messages: list[Post] = Field(min_length=1, max_length=1000)


class Queues:
    """A connection to the broker: confirmed publishes on one channel, consumers each on their own."""

    def __init__(self, connection: Any, publishing: Any) -> None:
        self._connection = connection
        self._exchange = publishing.default_exchange

    @classmethod
    async def open(cls, url: str, names: Sequence[str]) -> Queues:
        connection = await aio_pika.connect_robust(url)
        publishing = await connection.channel(publisher_confirms=True, on_return_raises=True)
        for name in names:
            arguments = {"x-queue-type": "quorum"}
            await publishing.declare_queue(name, durable=True, arguments=arguments)
        return cls(connection, publishing)

    async def publish(self, queue: str, body: bytes) -> None:
        """Return once the broker has it on disk."""
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._exchange.publish(message, queue)

    async def consume(self, queue: str, work: Callable[[bytes], Awaitable[None]]) -> None:
        """Run `work` for each message, up to PREFETCH at once; acked when it returns, given back when it raises."""
        channel = await self._connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        arguments = {"x-queue-type": "quorum"}
        declared = await channel.declare_queue(queue, durable=True, arguments=arguments)

        async def handle(message: AbstractIncomingMessage) -> None:
            async with message.process(requeue=True):
                await work(message.body)

        await declared.consume(handle)


class Memory:
    """Redis: each step of a message is one script call."""

    def __init__(self, url: str, clock: Clock) -> None:
        pool = BlockingConnectionPool.from_url(url, max_connections=32, timeout=5, protocol=2)
        self._redis = Redis.from_pool(pool)
        self._accepted = self._redis.register_script(ACCEPTED)
        self._route = self._redis.register_script(ROUTE)
        self._claim = self._redis.register_script(CLAIM)
        self._conclude = self._redis.register_script(CONCLUDE)
        self._owner = f"{os.getpid()}:{clock.now_ms()}"

    async def accepted(self, envelope: Envelope) -> None:
        await self._accepted([_cell(envelope)], [Meta.of(envelope).pack(), KEPT_MS])

    async def routed(self, envelope: Envelope) -> None:
        await self._route([_cell(envelope)], [envelope.channel, KEPT_MS])

    async def claim(self, envelope: Envelope) -> tuple[bytes, bytes]:
        verdict, outcome = await self._claim([_cell(envelope)], [self._owner])
        return verdict, outcome

    async def conclude(self, envelope: Envelope, outcome: Outcome) -> None:
        ids = outcome.remote_ids if isinstance(outcome, Sent | Unknown) else ()
        keys = [_cell(envelope), *(f"naive:r:{remote}" for remote in ids)]
        view = type(outcome).__name__.lower()
        await self._conclude(keys, [wire.seal_outcome(outcome), view, KEPT_MS, envelope.id])


def _cell(envelope: Envelope) -> str:
    return f"naive:m:{envelope.id}"


class Api:
    """HTTP in."""

    def __init__(self, settings: Settings, queues: Queues, memory: Memory, clock: Clock) -> None:
        self._key_hash = settings.key_hash
        self._queues = queues
        self._memory = memory
        self._clock = clock
        self._ids = IdFactory(clock, system_random())

    def app(self) -> web.Application:
        app = web.Application(client_max_size=4 << 20)
        app.router.add_post("/v1/messages", self._one)
        app.router.add_post("/v1/messages:batch", self._many)
        return app

    async def _one(self, request: web.Request) -> web.Response:
        self._authorise(request)
        try:
            post = Post.model_validate_json(await request.read())
        except ValidationError as error:
            return _problem(error)
        envelope = await self._accept(post)
        return _answer({"id": envelope.id, "status": "accepted"})

    async def _many(self, request: web.Request) -> web.Response:
        self._authorise(request)
        try:
            posts = Batch.model_validate_json(await request.read()).messages
        except ValidationError as error:
            return _problem(error)
        room = asyncio.Semaphore(PUBLISHES_OF_A_BATCH)

        async def one(post: Post) -> dict[str, str]:
            async with room:
                envelope = await self._accept(post)
            return {"id": envelope.id, "status": "accepted"}

        return _answer({"messages": await asyncio.gather(*(one(post) for post in posts))})

    async def _accept(self, post: Post) -> Envelope:
        now = self._clock.now_ms()
        scheme, _, number = post.to.partition(":")
        envelope = Envelope(
            id=self._ids.message(post.to),
            caller="bench",
            to=Address(scheme, number),
            category=post.category,
            tier=2,
            payload=Text(post.content.text),
            created_at=now,
            person=post.to,
            channels=tuple(post.channels),
            channel="sms",
            expires_at=now + 86_400_000,
            reference=post.reference,
        )
        await self._queues.publish(SUBMIT, wire.seal(envelope))
        await self._memory.accepted(envelope)
        return envelope

    def _authorise(self, request: web.Request) -> None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(hashlib.sha256(key.encode()).hexdigest(), self._key_hash):
            raise web.HTTPUnauthorized


def _answer(body: object) -> web.Response:
    return web.Response(status=202, body=json.dumps(body).encode(), content_type="application/json")


def _problem(error: ValidationError) -> web.Response:
    body = error.json(include_url=False, include_input=False).encode()
    return web.Response(status=422, body=body, content_type="application/problem+json")


class QuietPort:
    """What the SMS adapter uses of a Port, and no more: receipts are off on both sides of the bench."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.channel = "sms"
        self.clock = clock
        self.random = random
        self.log = structlog.get_logger("bench.naive")

    async def emit(self, items: Sequence[Received | Report]) -> None:
        raise NotImplementedError("the bench's far end sends nothing back")

    def http(self) -> aiohttp.ClientSession:
        raise NotImplementedError("the sms adapter speaks no HTTP")

    async def subscriber(self, caller: str) -> Subscriber | None:
        return None

    def gauge(self, name: str, value: float) -> None:
        return None


class Router:
    def __init__(self, queues: Queues, memory: Memory, clock: Clock) -> None:
        self._queues = queues
        self._memory = memory
        self._clock = clock

    async def __call__(self, body: bytes) -> None:
        envelope = _envelope(body)
        await self._memory.routed(envelope)
        decision = Decision("route", "only channel of its kind", "routed", "sms")
        record = _record(self._clock, envelope, "submit", Routed(("sms",)), (decision,))
        await asyncio.gather(
            self._queues.publish(OUT, body), self._queues.publish(RECORD, wire.seal(record))
        )


class Sending:
    def __init__(self, queues: Queues, memory: Memory, adapter: Sms, clock: Clock) -> None:
        self._queues = queues
        self._memory = memory
        self._adapter = adapter
        self._clock = clock

    async def __call__(self, body: bytes) -> None:
        envelope = _envelope(body)
        verdict, stored = await self._memory.claim(envelope)
        if verdict == b"done":
            outcome = wire.open_outcome(stored)
        else:
            outcome = await self._send(envelope) if verdict == b"go" else Unknown("claimed before")
            await self._memory.conclude(envelope, outcome)
        record = _record(self._clock, envelope, "channel", outcome)
        await self._queues.publish(RECORD, wire.seal(record))

    async def _send(self, envelope: Envelope) -> Outcome:
        while True:
            try:
                (outcome,) = await self._adapter.deliver([Dispatch(envelope, envelope.token())])
                return outcome
            except Unreachable:  # nothing was handed over, and the claim is ours: wait for the link
                await self._clock.sleep(0.2)


class Archive:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(self, body: bytes) -> None:
        record = wire.open_sealed(body)
        assert isinstance(record, Record)
        await self._store.write_records([record], lambda _category: "full")
        event = event_of(record)
        if event is not None:
            await self._store.append_events(partition_of(event.message, PARTITIONS), [event])


def _record(
    clock: Clock,
    envelope: Envelope,
    pipeline: str,
    outcome: Outcome,
    decisions: tuple[Decision, ...] = (),
) -> Record:
    return Record(
        id=envelope.key(pipeline).derived("record"),
        at=clock.now_ms(),
        pipeline=pipeline,
        envelope=envelope,
        outcome=outcome,
        decisions=decisions,
        status="queued" if isinstance(outcome, Routed) else type(outcome).__name__.lower(),
        subject_caller=envelope.caller,
        reference=envelope.reference,
    )


def _envelope(body: bytes) -> Envelope:
    envelope = wire.open_sealed(body)
    assert isinstance(envelope, Envelope)
    return envelope


async def serve(role: Role, settings: Settings) -> None:
    """Run one process for ever. Prints `ready` once it works."""
    clock = SystemClock()
    queues = await Queues.open(settings.rabbit, (SUBMIT, OUT, RECORD))
    memory = Memory(settings.redis, clock)
    match role:
        case "api":
            app = Api(settings, queues, memory, clock).app()
            runner = web.AppRunner(app, access_log=None, handle_signals=False)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", settings.port, backlog=1024).start()
        case "router":
            await queues.consume(SUBMIT, Router(queues, memory, clock))
        case "channel":
            link = {**sms_settings(settings), "secret": Secret(settings.secret)}
            sms = SmsSettings.model_validate(link)
            adapter = Sms(sms, cast(Port, QuietPort(clock, system_random())))
            up = asyncio.Event()

            def tell(state: bool) -> None:
                if state:
                    up.set()

            session = asyncio.create_task(adapter.session(tell))
            await asyncio.wait_for(up.wait(), 10)
            await queues.consume(OUT, Sending(queues, memory, adapter, clock))
            quiet_collector()
            print("ready", flush=True)
            await session
        case "archive":
            store = Store(settings.postgres, clock, pool_size=16)
            await store.open()
            await store.migrate()
            await queues.consume(RECORD, Archive(store))
    quiet_collector()
    print("ready", flush=True)
    await asyncio.Event().wait()


def sms_settings(settings: Settings) -> dict[str, Any]:
    """The link to the far end as channels.yaml holds it, the same for both sides."""
    return {
        "protocol": "cmpp2",
        "host": "127.0.0.1",
        "port": settings.far_end,
        "account": settings.account,
        "secret": "${env:FAR_END_SECRET}",
        "src": "10690000",
        "window": settings.window,
    }


if __name__ == "__main__":
    import uvloop

    wanted = next(role for role in ROLES if role == sys.argv[1])
    uvloop.run(serve(wanted, Settings.model_validate_json(os.environ["NAIVE"])))
