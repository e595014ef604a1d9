"""Kind `push`: notifications to the app of grid staff (网格通) and customers, through whichever engine the app sits on.

A recipient is a person (`gridapp:<grid account>`, `customer:<id>`) whose devices are registered here, or whoever has a role in
a grid now (`role:<role>@<grid>`). One call carries as many devices as the engine takes; each call is a part of the message.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapters.push.asking import DAY_S, KnownIds, Polled
from adapters.push.content import content_of, facts_of
from adapters.push.devices import Device, Devices
from adapters.push.engine import Engine, Failed
from adapters.push.hooks import PushHooks
from adapters.push.roster import RosterFile, Rosters
from adapters.push.settings import Class, PushSettings
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Request,
    Response,
    Retry,
    Sent,
    Spec,
    Unavailable,
    Unknown,
    Unreachable,
)
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Card, Link, Native, Pull, Recall, Text
from protocols.push import answers

AT_ONCE = 20


class Push(Adapter):
    """What a channel can do follows from its engine, see `abilities`."""

    spec = Spec(
        kind="push",
        title="App push (网格通 PUSH)",
        payloads=frozenset({Text, Link, Card, Native, Recall, Pull}),
        schemes=frozenset({"gridapp", "role", "customer"}),
        max_batch=100,
        in_flight=4,
        receipts=frozenset({"delivered", "undelivered", "read"}),
        recall=True,
        resend=False,
        limits={
            "engine": "what a channel can do depends on its engine: recall with Getui and plain, repeats known by JPush, Umeng "
            "and plain, receipts told by Getui, Huawei and plain, asked for with JPush, none with Umeng",
            "devices": "the newest most_devices of a person; where the engine takes one a call, the newest alone",
            "native": "push {title, body, url, data}",
        },
    )
    Settings = PushSettings
    settings: PushSettings

    @classmethod
    def abilities(cls, settings: PushSettings) -> Spec:
        profile = settings.made
        told = profile.receipts
        states = {"delivered"} if told.how == "poll" else set(told.states.values()) - {"unknown"}
        once = profile.repeat == "returns-first"
        return replace(
            cls.spec,
            title=f"{cls.spec.title}: {profile.title}",
            receipts=frozenset(() if told.how == "none" else states),
            recall=profile.withdraw is not None,
            idempotent=once,
            resend=once,
            receipt_wait_s=told.late_s,
            limits=profile.limits,
        )

    def __init__(
        self, settings: PushSettings, port: Port, *, roster: Rosters | None = None
    ) -> None:
        super().__init__(settings, port)
        self.profile = settings.made
        self.engine = Engine(settings, port)
        self.devices = Devices(port)
        self.roster = roster or RosterFile(settings.roster, port.log)
        self._hooks = PushHooks(settings, port, self.devices)
        self._ids = KnownIds(settings, port, self.engine)
        self._polled = Polled(settings, port, self.engine)
        self._dry_until = 0.0
        """Until then (monotonic) the engine takes no more calls, as it said itself."""

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """`receipts`: where the engine tells receipts; `devices`: where the app's backend registers devices."""
        return self._hooks.paths()

    def render(self, envelope: Envelope) -> None:
        if isinstance(envelope.payload, Pull):
            return
        if envelope.to.scheme not in self.spec.schemes:
            raise Malformed(f"push reaches {', '.join(sorted(self.spec.schemes))} addresses")
        if not isinstance(envelope.payload, Recall):
            content_of(envelope.payload, self.settings.title)

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Raises Unreachable when not one octet of the batch left."""
        slots = asyncio.Semaphore(AT_ONCE)
        nothing_left = 0

        async def run(item: Dispatch) -> Outcome:
            nonlocal nothing_left
            async with slots:
                try:
                    return await self._one(item)
                except Failed as failed:
                    nothing_left += failed.nothing_left
                    return failed.outcome
                except Malformed as error:
                    return Rejected("message", str(error), "malformed")

        outcomes = list(await asyncio.gather(*map(run, batch)))
        if nothing_left == len(batch):
            raise Unreachable("the push engine cannot be reached")
        return outcomes

    async def _one(self, item: Dispatch) -> Outcome:
        payload = item.envelope.payload
        if isinstance(payload, Pull):
            return await self._polled.ask(payload)
        try:
            devices = await self._devices(item.envelope)
        except Unavailable as error:  # our own memory is away, the message is still here
            return Retry("channel", f"devices: {type(error).__name__}", 1.0, "not_ready")
        if isinstance(devices, Retry | Rejected):
            return devices
        if isinstance(payload, Recall):
            return await self._withdraw(item, payload, devices)
        marketing = item.envelope.category in self.settings.marketing
        kind: Class = "marketing" if marketing else "service"
        content = content_of(payload, self.settings.title)
        facts = facts_of(self.profile, item.envelope, content, kind, self.port.clock.now_ms())
        return await self._allowed(devices, kind) or await self._push(item, facts, devices)

    async def _devices(self, envelope: Envelope) -> list[Device] | Retry | Rejected:
        """Whom it goes to, or why to nobody."""
        to = envelope.to
        if to.scheme != "role":
            found = (await self.devices.of(to))[: self.settings.most_devices]
            if self.profile.batch == 1:
                found = found[:1]
        else:
            people = self.roster.on_duty(to, self.port.clock.now_ms())
            if not people:
                return Retry(
                    "recipient", f"nobody is on duty for {to.value}", 600.0, "nobody_on_duty"
                )
            found = [device for one in people for device in (await self.devices.of(one))[:1]]
        if not found:
            return Rejected("recipient", "no device is registered", "no_device")
        return found

    async def _allowed(self, devices: Sequence[Device], kind: Class) -> Outcome | None:
        """None = go. What an engine drops without a word must not be sent to it."""
        calls = self.settings.per_minute or self.profile.per_minute
        most = self.settings.per_day or self.profile.per_day
        dry = self._dry_until - self.port.clock.monotonic()
        if dry > 0:
            return Retry("channel", "the engine's calls are used up", dry, "push_throttled")
        try:
            day = self.settings.per_device_day.get(kind, self.profile.per_device_day.get(kind, 0))
            if day:
                keys = [f"day:{kind}:{_print(device.token)}" for device in devices]
                if max(await self.port.allow(keys, [(day, DAY_S)])) > 0:
                    return Rejected("recipient", f"{day} {kind} messages a day", "push_limit")
            if most:
                waits = await self.port.allow(["day"] * len(devices), [(most, DAY_S)])
                if max(waits) > 0:
                    told = f"{most} devices a day"
                    return Retry("channel", told, max(waits), "push_throttled")
            if calls:
                [wait] = await self.port.allow(["calls"], [(calls, 60.0)])
                if wait > 0:
                    return Retry("channel", f"{calls} calls a minute", wait, "push_throttled")
        except Unavailable as error:  # nothing left
            return Retry("channel", f"limits: {type(error).__name__}", 1.0, "not_ready")
        return None

    async def _push(
        self, item: Dispatch, content: Mapping[str, Any], devices: Sequence[Device]
    ) -> Outcome:
        """A call for each chunk of devices; once one is taken, only Sent or Unknown may follow."""
        ids: list[str] = []
        refused: Outcome | None = None
        size = self.profile.batch
        for number, start in enumerate(range(0, len(devices), size)):
            chunk = [device.token for device in devices[start : start + size]]
            try:
                outcome = await self._call(item, f"{item.token}{number or ''}", content, chunk)
            except Failed as failed:
                outcome = failed.outcome
                if not ids:
                    raise
            if isinstance(outcome, Sent):
                ids += outcome.remote_ids
            elif isinstance(outcome, Unknown):
                named = outcome.remote_ids or ()
                return Unknown(outcome.detail, (*ids, *named))
            elif isinstance(outcome, Rejected) and outcome.code == "dead_token":
                refused = outcome
            elif not ids:
                return outcome
            else:
                return Sent(tuple(ids), f"to some devices only: {outcome}"[:200])
        if not ids:
            return refused or Sent()
        await self._polled.expect(ids)
        return Sent(tuple(ids))

    async def _call(
        self, item: Dispatch, token: str, content: Mapping[str, Any], tokens: list[str]
    ) -> Outcome:
        known = self.profile.ids is not None
        facts = {
            **content,
            "id": await self._ids.of(token) if known else token,
            "token": tokens[0],
            "tokens": tokens,
            "tokens_text": ",".join(tokens),
        }
        try:
            checks = self.profile.validate if self.settings.dry_run else None
            reply = await self.engine.call(checks or self.profile.send, facts)
        except Failed as failed:
            if isinstance(failed.outcome, Unknown) and self.profile.ours:
                unknown = Unknown(failed.outcome.detail, (token,))
                raise Failed(unknown, nothing_left=False) from failed
            raise
        rules = self.profile.answers
        reset = reply.headers.get(rules.reset_header, "") if rules.reset_header else ""
        answer = answers.read(rules, reply.status, reply.body, reset)
        if rules.left_header and reply.headers.get(rules.left_header, "").strip() == "0":
            self._dry_until = self.port.clock.monotonic() + answer.reset_s
        if answer.verdict == "dead":
            await self._forget(tokens)
        return answers.outcome_of(answer)

    async def _forget(self, tokens: Sequence[str]) -> None:
        try:
            await self.devices.forget_dead(tokens)
        except (
            Unavailable
        ) as error:  # the engine's word on the message stands; it will say so again
            self.port.log.warning("dead_device_kept", error=type(error).__name__)

    async def _withdraw(self, item: Dispatch, recall: Recall, devices: Sequence[Device]) -> Outcome:
        call = self.profile.withdraw
        if call is None:
            return Rejected("message", "this push engine takes nothing back", "recall_unsupported")
        if not recall.remote_ids:
            return Rejected("message", "the engine gave no id for it", "no_remote_id")
        outcome: Outcome = Sent()
        tokens = [device.token for device in devices]
        for number, remote_id in enumerate(recall.remote_ids):
            facts = {
                "id": f"{item.token}{number or ''}",
                "remote_id": remote_id,
                "token": tokens[0],
                "tokens": tokens[: self.profile.batch],
            }
            reply = await self.engine.call(call, facts)
            outcome = answers.outcome_of(
                answers.read(self.profile.answers, reply.status, reply.body)
            )
            if not isinstance(outcome, Sent):
                return outcome
        return Sent()


def _print(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:24]


__all__ = ["Push"]
