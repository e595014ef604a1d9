"""Every operation of the API as a coroutine; made from the OpenAPI document by `msgcenter.client.generate` (`make client`), not by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal
from urllib.parse import quote

from msgcenter.client.models import (
    AcceptedView,
    AccountsView,
    AccountView,
    AllowanceView,
    ApplyRequest,
    ApproveBody,
    ApproveRequest,
    AuditsView,
    AuditView,
    BatchRequest,
    BatchView,
    BlockBody,
    CallerView,
    ConfigVersionsView,
    ConfigVersionView,
    ConsentBody,
    ConsentsView,
    ConsentView,
    CustomerBody,
    CustomersBody,
    CustomersResultView,
    CustomersView,
    CustomerView,
    DeadsView,
    DeadView,
    DissolveRequest,
    EndedView,
    EraseBody,
    ErasedView,
    EventsView,
    ExplainedView,
    GroupChange,
    GroupRequest,
    GroupsView,
    GroupView,
    InboxView,
    ItemView,
    KeyRequest,
    KeysView,
    KeyView,
    KindsView,
    LinkBody,
    LinkRequest,
    MarkedView,
    MarkRequest,
    MediaLinkView,
    MediaView,
    MessageRequest,
    MessagesView,
    MessageView,
    OpportunityRequest,
    PauseRequest,
    PausesView,
    PauseView,
    PreferenceLinkBody,
    PreferenceLinkView,
    PreferencesBody,
    PreferencesView,
    ReadyView,
    RecallView,
    ReconciliationView,
    RejectBody,
    ReplayManyRequest,
    ReplayRequest,
    ReplayView,
    ResumedView,
    ReviewsView,
    ReviewView,
    RollbackRequest,
    RolloutView,
    SchemasView,
    SealCheckView,
    ShortLinksView,
    SignalRequest,
    SignalView,
    StatusView,
    SubscriptionChange,
    SubscriptionPause,
    SubscriptionReplay,
    SubscriptionRequest,
    SubscriptionsView,
    SubscriptionView,
    UnlinkBody,
    VersionView,
)
from msgcenter.client.sse import ServerEvent
from msgcenter.client.transport import Transport, Upload


def quoted(part: str) -> str:
    """A value as one part of a path."""
    return quote(part, safe="@:")


class Operations(Transport):
    """One method for each operation. All raise ApiError and NotReached."""

    async def send_message(
        self, body: MessageRequest, *, wait: str | None = None, idempotency_key: str | None = None
    ) -> AcceptedView:
        """Send one message to one recipient. `POST /v1/messages`."""
        answer: AcceptedView = await self.call(
            "POST",
            "/v1/messages",
            query={"wait": wait},
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def list_messages(
        self,
        *,
        address: str | None = None,
        customer: str | None = None,
        account: str | None = None,
        direction: Literal["out", "in", "staff"] | None = None,
        channel: str | None = None,
        category: str | None = None,
        campaign: str | None = None,
        status: str | None = None,
        order_key: str | None = None,
        caller: str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> MessagesView:
        """Messages, newest first. `GET /v1/messages`."""
        answer: MessagesView = await self.call(
            "GET",
            "/v1/messages",
            query={
                "address": address,
                "customer": customer,
                "account": account,
                "direction": direction,
                "channel": channel,
                "category": category,
                "campaign": campaign,
                "status": status,
                "order_key": order_key,
                "caller": caller,
                "after": after,
                "before": before,
                "limit": limit,
                "cursor": cursor,
            },
        )
        return answer

    async def iter_messages(
        self,
        *,
        address: str | None = None,
        customer: str | None = None,
        account: str | None = None,
        direction: Literal["out", "in", "staff"] | None = None,
        channel: str | None = None,
        category: str | None = None,
        campaign: str | None = None,
        status: str | None = None,
        order_key: str | None = None,
        caller: str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[MessageView]:
        """Every item of `list_messages`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_messages(
                address=address,
                customer=customer,
                account=account,
                direction=direction,
                channel=channel,
                category=category,
                campaign=campaign,
                status=status,
                order_key=order_key,
                caller=caller,
                after=after,
                before=before,
                limit=limit,
                cursor=cursor,
            )
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def send_messages(
        self, body: BatchRequest, *, idempotency_key: str | None = None
    ) -> BatchView:
        """Send up to 1,000 messages, each with its own result. `POST /v1/messages:batch`."""
        answer: BatchView = await self.call(
            "POST", "/v1/messages:batch", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def cancel_message(self, id: str, *, idempotency_key: str | None = None) -> AcceptedView:
        """Cancel a message that has not left yet. `POST /v1/messages/{id}:cancel`."""
        answer: AcceptedView = await self.call(
            "POST", f"/v1/messages/{quoted(id)}:cancel", idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def explain_message(self, body: MessageRequest) -> ExplainedView:
        """What would become of a message now, without sending it. `POST /v1/messages:explain`."""
        answer: ExplainedView = await self.call("POST", "/v1/messages:explain", body=body)
        return answer

    async def get_allowance(
        self, id: str, *, category: str | None = None, channel: str | None = None
    ) -> AllowanceView:
        """When a customer may be written to next, and what every cap leaves. `GET /v1/customers/{id}/allowance`."""
        answer: AllowanceView = await self.call(
            "GET",
            f"/v1/customers/{quoted(id)}/allowance",
            query={"category": category, "channel": channel},
        )
        return answer

    async def recall_message(self, id: str, *, idempotency_key: str | None = None) -> RecallView:
        """Take back a message that has left, where the channel can. `POST /v1/messages/{id}:recall`."""
        answer: RecallView = await self.call(
            "POST", f"/v1/messages/{quoted(id)}:recall", idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def list_message_links(self, id: str) -> ShortLinksView:
        """The short links of a message and their clicks. `GET /v1/messages/{id}/links`."""
        answer: ShortLinksView = await self.call("GET", f"/v1/messages/{quoted(id)}/links")
        return answer

    async def send_signal(
        self, body: SignalRequest, *, idempotency_key: str | None = None
    ) -> SignalView:
        """Tell of a business event or a click that plans may wait for. `POST /v1/signals`."""
        answer: SignalView = await self.call(
            "POST", "/v1/signals", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def take_opportunity(self, body: OpportunityRequest) -> AcceptedView:
        """Take in an opportunity that was not reached, and try it once more. `POST /v1/opportunities`."""
        answer: AcceptedView = await self.call("POST", "/v1/opportunities", body=body)
        return answer

    async def upload_media(
        self, data: Upload, *, content_type: str, name: str | None = None
    ) -> MediaView:
        """Keep a file to be sent. `POST /v1/media`."""
        answer: MediaView = await self.upload(
            "POST", "/v1/media", data, content_type=content_type, query={"name": name}
        )
        return answer

    async def download_media(self, id: str) -> bytes:
        """A file, or a range of it. `GET /v1/media/{id}`."""
        return await self.download("GET", f"/v1/media/{quoted(id)}")

    async def link_media(self, id: str, body: LinkRequest | None = None) -> MediaLinkView:
        """A short-lived link to a file that needs no key. `POST /v1/media/{id}:link`."""
        answer: MediaLinkView = await self.call("POST", f"/v1/media/{quoted(id)}:link", body=body)
        return answer

    async def open_link(self, id: str, *, exp: str | None = None, sig: str | None = None) -> bytes:
        """The file behind a link. `GET /m/{id}`."""
        return await self.download("GET", f"/m/{quoted(id)}", query={"exp": exp, "sig": sig})

    async def get_message(self, id: str, *, wait: str | None = None) -> MessageView:
        """One message: status, deliveries, decisions. `GET /v1/messages/{id}`."""
        answer: MessageView = await self.call(
            "GET", f"/v1/messages/{quoted(id)}", query={"wait": wait}
        )
        return answer

    def stream_events(
        self, *, cursor: str | None = None, from_: str | None = None, last_id: str = ""
    ) -> AsyncIterator[ServerEvent]:
        """Events as they come (server-sent events). `GET /v1/events/stream`."""
        return self.stream(
            "/v1/events/stream", query={"cursor": cursor, "from": from_}, last_id=last_id
        )

    async def read_events(
        self,
        *,
        cursor: str | None = None,
        from_: str | None = None,
        wait: str | None = None,
        limit: int | None = None,
    ) -> EventsView:
        """Events after a cursor (pull). `GET /v1/events`."""
        answer: EventsView = await self.call(
            "GET",
            "/v1/events",
            query={"cursor": cursor, "from": from_, "wait": wait, "limit": limit},
        )
        return answer

    async def create_subscription(
        self, body: SubscriptionRequest, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Have events delivered to a place. `POST /v1/subscriptions`."""
        answer: SubscriptionView = await self.call(
            "POST", "/v1/subscriptions", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def list_subscriptions(self) -> SubscriptionsView:
        """Where events are delivered. `GET /v1/subscriptions`."""
        answer: SubscriptionsView = await self.call("GET", "/v1/subscriptions")
        return answer

    async def get_subscription(self, id: str) -> SubscriptionView:
        """How a subscription stands. `GET /v1/subscriptions/{id}`."""
        answer: SubscriptionView = await self.call("GET", f"/v1/subscriptions/{quoted(id)}")
        return answer

    async def change_subscription(
        self, id: str, body: SubscriptionChange, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Change a subscription. `PATCH /v1/subscriptions/{id}`."""
        answer: SubscriptionView = await self.call(
            "PATCH",
            f"/v1/subscriptions/{quoted(id)}",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def end_subscription(self, id: str, *, idempotency_key: str | None = None) -> EndedView:
        """End a subscription. `DELETE /v1/subscriptions/{id}`."""
        answer: EndedView = await self.call(
            "DELETE", f"/v1/subscriptions/{quoted(id)}", idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def pause_subscription(
        self, id: str, body: SubscriptionPause | None = None, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Deliver nothing for a while. `POST /v1/subscriptions/{id}:pause`."""
        answer: SubscriptionView = await self.call(
            "POST",
            f"/v1/subscriptions/{quoted(id)}:pause",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def resume_subscription(
        self, id: str, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Deliver again, from where it stopped. `POST /v1/subscriptions/{id}:resume`."""
        answer: SubscriptionView = await self.call(
            "POST",
            f"/v1/subscriptions/{quoted(id)}:resume",
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def replay_subscription(
        self, id: str, body: SubscriptionReplay, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Deliver again from a point of the event log. `POST /v1/subscriptions/{id}:replay`."""
        answer: SubscriptionView = await self.call(
            "POST",
            f"/v1/subscriptions/{quoted(id)}:replay",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def rotate_subscription_secret(
        self, id: str, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """A new signing key, the old one signs on for a day. `POST /v1/subscriptions/{id}:rotate-secret`."""
        answer: SubscriptionView = await self.call(
            "POST",
            f"/v1/subscriptions/{quoted(id)}:rotate-secret",
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def list_schemas(self) -> SchemasView:
        """Types of events, each with its JSON Schema. `GET /v1/schemas`."""
        answer: SchemasView = await self.call("GET", "/v1/schemas")
        return answer

    async def get_schema(self, type: str) -> dict[str, Any]:
        """The JSON Schema of one type of event. `GET /v1/schemas/{type}`."""
        answer: dict[str, Any] = await self.call("GET", f"/v1/schemas/{quoted(type)}")
        return answer

    async def list_inbox(
        self,
        *,
        owner: str | None = None,
        state: Literal["all", "unread"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> InboxView:
        """An inbox: items and unread count. `GET /v1/inbox`."""
        answer: InboxView = await self.call(
            "GET",
            "/v1/inbox",
            query={"owner": owner, "state": state, "limit": limit, "cursor": cursor},
        )
        return answer

    async def iter_inbox(
        self,
        *,
        owner: str | None = None,
        state: Literal["all", "unread"] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[ItemView]:
        """Every item of `list_inbox`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_inbox(owner=owner, state=state, limit=limit, cursor=cursor)
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def stream_inbox(
        self, *, owner: str | None = None, position: str | None = None, last_id: str = ""
    ) -> AsyncIterator[ServerEvent]:
        """Changes of an inbox as they happen (server-sent events or WebSocket). `GET /v1/inbox/stream`."""
        return self.stream(
            "/v1/inbox/stream", query={"owner": owner, "position": position}, last_id=last_id
        )

    async def mark_inbox_item_read(self, id: str) -> ItemView:
        """An item was read. `POST /v1/inbox/{id}:read`."""
        answer: ItemView = await self.call("POST", f"/v1/inbox/{quoted(id)}:read")
        return answer

    async def mark_inbox_read(self, body: MarkRequest) -> MarkedView:
        """Items were read. `POST /v1/inbox:read`."""
        answer: MarkedView = await self.call("POST", "/v1/inbox:read", body=body)
        return answer

    async def list_channels(self) -> KindsView:
        """Kinds of channels, their abilities and health. `GET /v1/channels`."""
        answer: KindsView = await self.call("GET", "/v1/channels")
        return answer

    async def list_accounts(
        self,
        *,
        kind: str | None = None,
        channel: str | None = None,
        corp: str | None = None,
        organisation: str | None = None,
        agent: str | None = None,
        state: Literal["active", "retired", "revoked"] | None = None,
        health: Literal["up", "down", "limited", "banned", "unknown"] | None = None,
    ) -> AccountsView:
        """Sending identities, and how each is. `GET /v1/accounts`."""
        answer: AccountsView = await self.call(
            "GET",
            "/v1/accounts",
            query={
                "kind": kind,
                "channel": channel,
                "corp": corp,
                "organisation": organisation,
                "agent": agent,
                "state": state,
                "health": health,
            },
        )
        return answer

    async def get_account(self, id: str) -> AccountView:
        """One sending identity. `GET /v1/accounts/{id}`."""
        answer: AccountView = await self.call("GET", f"/v1/accounts/{quoted(id)}")
        return answer

    async def revoke_account(self, id: str, *, idempotency_key: str | None = None) -> AccountView:
        """Stop an account: nothing more is sent in its name. `POST /v1/accounts/{id}:revoke`."""
        answer: AccountView = await self.call(
            "POST", f"/v1/accounts/{quoted(id)}:revoke", idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def restore_account(self, id: str, *, idempotency_key: str | None = None) -> AccountView:
        """Let a revoked account send again. `POST /v1/accounts/{id}:restore`."""
        answer: AccountView = await self.call(
            "POST",
            f"/v1/accounts/{quoted(id)}:restore",
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def get_caller(self) -> CallerView:
        """Who am I, what may I send, what is left. `GET /v1/callers/me`."""
        answer: CallerView = await self.call("GET", "/v1/callers/me")
        return answer

    async def get_reconciliation(self, *, day: str | None = None) -> ReconciliationView:
        """What the archive kept against what was relayed. `GET /v1/reconciliation`."""
        answer: ReconciliationView = await self.call(
            "GET", "/v1/reconciliation", query={"day": day}
        )
        return answer

    async def list_reviews(
        self,
        *,
        state: Literal["waiting", "approved", "rejected", "expired", "all"] | None = None,
        caller: str | None = None,
        rule: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ReviewsView:
        """Content that waits for a decision. `GET /v1/reviews`."""
        answer: ReviewsView = await self.call(
            "GET",
            "/v1/reviews",
            query={
                "state": state,
                "caller": caller,
                "rule": rule,
                "limit": limit,
                "cursor": cursor,
            },
        )
        return answer

    async def iter_reviews(
        self,
        *,
        state: Literal["waiting", "approved", "rejected", "expired", "all"] | None = None,
        caller: str | None = None,
        rule: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[ReviewView]:
        """Every item of `list_reviews`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_reviews(
                state=state, caller=caller, rule=rule, limit=limit, cursor=cursor
            )
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def get_review(self, id: str) -> ReviewView:
        """One review. `GET /v1/reviews/{id}`."""
        answer: ReviewView = await self.call("GET", f"/v1/reviews/{quoted(id)}")
        return answer

    async def approve_review(
        self, id: str, body: ApproveBody | None = None, *, idempotency_key: str | None = None
    ) -> ReviewView:
        """Let held content go on. `POST /v1/reviews/{id}:approve`."""
        answer: ReviewView = await self.call(
            "POST",
            f"/v1/reviews/{quoted(id)}:approve",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def reject_review(
        self, id: str, body: RejectBody, *, idempotency_key: str | None = None
    ) -> ReviewView:
        """Do not send held content. `POST /v1/reviews/{id}:reject`."""
        answer: ReviewView = await self.call(
            "POST",
            f"/v1/reviews/{quoted(id)}:reject",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def create_group(
        self, body: GroupRequest, *, idempotency_key: str | None = None
    ) -> GroupView:
        """Make a group. `POST /v1/groups`."""
        answer: GroupView = await self.call(
            "POST", "/v1/groups", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def list_groups(
        self,
        *,
        kind: str | None = None,
        channel: str | None = None,
        account: str | None = None,
        state: Literal["creating", "active", "dissolving", "dissolved", "failed", "uncertain"]
        | None = None,
        chat: str | None = None,
        caller: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> GroupsView:
        """Groups, newest first. `GET /v1/groups`."""
        answer: GroupsView = await self.call(
            "GET",
            "/v1/groups",
            query={
                "kind": kind,
                "channel": channel,
                "account": account,
                "state": state,
                "chat": chat,
                "caller": caller,
                "limit": limit,
                "cursor": cursor,
            },
        )
        return answer

    async def iter_groups(
        self,
        *,
        kind: str | None = None,
        channel: str | None = None,
        account: str | None = None,
        state: Literal["creating", "active", "dissolving", "dissolved", "failed", "uncertain"]
        | None = None,
        chat: str | None = None,
        caller: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[GroupView]:
        """Every item of `list_groups`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_groups(
                kind=kind,
                channel=channel,
                account=account,
                state=state,
                chat=chat,
                caller=caller,
                limit=limit,
                cursor=cursor,
            )
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def get_group(self, id: str) -> GroupView:
        """One group. `GET /v1/groups/{id}`."""
        answer: GroupView = await self.call("GET", f"/v1/groups/{quoted(id)}")
        return answer

    async def change_group(
        self, id: str, body: GroupChange, *, idempotency_key: str | None = None
    ) -> GroupView:
        """Change name, owner or members. `PATCH /v1/groups/{id}`."""
        answer: GroupView = await self.call(
            "PATCH",
            f"/v1/groups/{quoted(id)}",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def dissolve_group(
        self, id: str, body: DissolveRequest | None = None, *, idempotency_key: str | None = None
    ) -> GroupView:
        """Dissolve a group, with time to undo it. `POST /v1/groups/{id}:dissolve`."""
        answer: GroupView = await self.call(
            "POST",
            f"/v1/groups/{quoted(id)}:dissolve",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def approve_dissolution(
        self, id: str, *, idempotency_key: str | None = None
    ) -> GroupView:
        """Approve a dissolution that another key asked for. `POST /v1/groups/{id}:approve`."""
        answer: GroupView = await self.call(
            "POST", f"/v1/groups/{quoted(id)}:approve", idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def undo_dissolution(self, id: str, *, idempotency_key: str | None = None) -> GroupView:
        """Take a dissolution back, or the request for it. `POST /v1/groups/{id}:undo`."""
        answer: GroupView = await self.call(
            "POST", f"/v1/groups/{quoted(id)}:undo", idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def check_group_seal(self, id: str) -> SealCheckView:
        """Check the seal of a dissolved group. `GET /v1/groups/{id}/seal`."""
        answer: SealCheckView = await self.call("GET", f"/v1/groups/{quoted(id)}/seal")
        return answer

    async def list_customers(
        self,
        *,
        address: str | None = None,
        at: str | None = None,
        tag: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> CustomersView:
        """Customers, by address, by tag, or all. `GET /v1/customers`."""
        answer: CustomersView = await self.call(
            "GET",
            "/v1/customers",
            query={"address": address, "at": at, "tag": tag, "limit": limit, "cursor": cursor},
        )
        return answer

    async def iter_customers(
        self,
        *,
        address: str | None = None,
        at: str | None = None,
        tag: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CustomerView]:
        """Every item of `list_customers`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_customers(
                address=address, at=at, tag=tag, limit=limit, cursor=cursor
            )
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def put_customers(
        self, body: CustomersBody, *, idempotency_key: str | None = None
    ) -> CustomersResultView:
        """Make or change up to 1,000 customers. `POST /v1/customers:batch`."""
        answer: CustomersResultView = await self.call(
            "POST", "/v1/customers:batch", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def put_customer(
        self, id: str, body: CustomerBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Make a customer, or say more of one. `PUT /v1/customers/{id}`."""
        answer: CustomerView = await self.call(
            "PUT",
            f"/v1/customers/{quoted(id)}",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def get_customer(self, id: str) -> CustomerView:
        """One customer. `GET /v1/customers/{id}`."""
        answer: CustomerView = await self.call("GET", f"/v1/customers/{quoted(id)}")
        return answer

    async def put_preferences(
        self, id: str, body: PreferencesBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Do-not-disturb, service messages only, preferred channels. `PUT /v1/customers/{id}/preferences`."""
        answer: CustomerView = await self.call(
            "PUT",
            f"/v1/customers/{quoted(id)}/preferences",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def get_preferences(self, id: str) -> PreferencesView:
        """What a customer wants to be sent. `GET /v1/customers/{id}/preferences`."""
        answer: PreferencesView = await self.call("GET", f"/v1/customers/{quoted(id)}/preferences")
        return answer

    async def add_consent(
        self, id: str, body: ConsentBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Write down that it agreed, or took it back. `POST /v1/customers/{id}/consents`."""
        answer: CustomerView = await self.call(
            "POST",
            f"/v1/customers/{quoted(id)}/consents",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def list_consents(
        self, id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> ConsentsView:
        """The evidence of its consents. `GET /v1/customers/{id}/consents`."""
        answer: ConsentsView = await self.call(
            "GET", f"/v1/customers/{quoted(id)}/consents", query={"limit": limit, "cursor": cursor}
        )
        return answer

    async def iter_consents(
        self, id: str, *, limit: int | None = None
    ) -> AsyncIterator[ConsentView]:
        """Every item of `list_consents`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_consents(id, limit=limit, cursor=cursor)
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def add_block(
        self, id: str, body: BlockBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Put it on the block list. `POST /v1/customers/{id}/blocks`."""
        answer: CustomerView = await self.call(
            "POST",
            f"/v1/customers/{quoted(id)}/blocks",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def remove_block(
        self, id: str, block: str, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Lift a block. `DELETE /v1/customers/{id}/blocks/{block}`."""
        answer: CustomerView = await self.call(
            "DELETE",
            f"/v1/customers/{quoted(id)}/blocks/{quoted(block)}",
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def list_customer_audit(
        self, id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> AuditsView:
        """Who changed what about it. `GET /v1/customers/{id}/audit`."""
        answer: AuditsView = await self.call(
            "GET", f"/v1/customers/{quoted(id)}/audit", query={"limit": limit, "cursor": cursor}
        )
        return answer

    async def iter_customer_audit(
        self, id: str, *, limit: int | None = None
    ) -> AsyncIterator[AuditView]:
        """Every item of `list_customer_audit`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_customer_audit(id, limit=limit, cursor=cursor)
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def link_customer(
        self, id: str, body: LinkBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """It and another are one person. `POST /v1/customers/{id}:link`."""
        answer: CustomerView = await self.call(
            "POST",
            f"/v1/customers/{quoted(id)}:link",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def unlink_customer(
        self, id: str, body: UnlinkBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """They are two after all. `POST /v1/customers/{id}:unlink`."""
        answer: CustomerView = await self.call(
            "POST",
            f"/v1/customers/{quoted(id)}:unlink",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def erase_customer(
        self, id: str, body: EraseBody | None = None, *, idempotency_key: str | None = None
    ) -> ErasedView:
        """Forget it on request. `POST /v1/customers/{id}:erase`."""
        answer: ErasedView = await self.call(
            "POST",
            f"/v1/customers/{quoted(id)}:erase",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def make_preference_link(
        self, id: str, body: PreferenceLinkBody | None = None
    ) -> PreferenceLinkView:
        """A link to the customer's own settings. `POST /v1/customers/{id}/preference-link`."""
        answer: PreferenceLinkView = await self.call(
            "POST", f"/v1/customers/{quoted(id)}/preference-link", body=body
        )
        return answer

    async def list_dead_letters(
        self,
        *,
        channel: str | None = None,
        code: str | None = None,
        message: str | None = None,
        replayed: Literal["true", "false"] | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DeadsView:
        """Messages that were given up on, newest first. `GET /v1/dead-letters`."""
        answer: DeadsView = await self.call(
            "GET",
            "/v1/dead-letters",
            query={
                "channel": channel,
                "code": code,
                "message": message,
                "replayed": replayed,
                "after": after,
                "before": before,
                "limit": limit,
                "cursor": cursor,
            },
        )
        return answer

    async def iter_dead_letters(
        self,
        *,
        channel: str | None = None,
        code: str | None = None,
        message: str | None = None,
        replayed: Literal["true", "false"] | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[DeadView]:
        """Every item of `list_dead_letters`, page after page (`limit` is the size of a page)."""
        cursor: str | None = None
        while True:
            page = await self.list_dead_letters(
                channel=channel,
                code=code,
                message=message,
                replayed=replayed,
                after=after,
                before=before,
                limit=limit,
                cursor=cursor,
            )
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def replay_dead_letters(
        self, body: ReplayManyRequest | None = None, *, idempotency_key: str | None = None
    ) -> ReplayView:
        """Send in again all that fit. `POST /v1/dead-letters:replay`."""
        answer: ReplayView = await self.call(
            "POST",
            "/v1/dead-letters:replay",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def get_dead_letter(self, id: str) -> DeadView:
        """One dead letter. `GET /v1/dead-letters/{id}`."""
        answer: DeadView = await self.call("GET", f"/v1/dead-letters/{quoted(id)}")
        return answer

    async def replay_dead_letter(
        self, id: str, body: ReplayRequest | None = None, *, idempotency_key: str | None = None
    ) -> ReplayView:
        """Send one in again. `POST /v1/dead-letters/{id}:replay`."""
        answer: ReplayView = await self.call(
            "POST",
            f"/v1/dead-letters/{quoted(id)}:replay",
            body=body,
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def create_key(self, body: KeyRequest, *, idempotency_key: str | None = None) -> KeyView:
        """Make an API key; its secret is shown once. `POST /v1/keys`."""
        answer: KeyView = await self.call(
            "POST", "/v1/keys", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def list_keys(self, *, caller: str | None = None) -> KeysView:
        """All API keys, without secrets. `GET /v1/keys`."""
        answer: KeysView = await self.call("GET", "/v1/keys", query={"caller": caller})
        return answer

    async def revoke_key(self, id: str, *, idempotency_key: str | None = None) -> KeyView:
        """End an API key. `POST /v1/keys/{id}:revoke`."""
        answer: KeyView = await self.call(
            "POST", f"/v1/keys/{quoted(id)}:revoke", idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def get_config(self) -> RolloutView:
        """Which rules are in force, and what waits for whom. `GET /v1/config`."""
        answer: RolloutView = await self.call("GET", "/v1/config")
        return answer

    async def list_config_versions(self) -> ConfigVersionsView:
        """What was in force before. `GET /v1/config/versions`."""
        answer: ConfigVersionsView = await self.call("GET", "/v1/config/versions")
        return answer

    async def get_config_version(self, id: str) -> ConfigVersionView:
        """One version, with its texts. `GET /v1/config/versions/{id}`."""
        answer: ConfigVersionView = await self.call("GET", f"/v1/config/versions/{quoted(id)}")
        return answer

    async def approve_config(
        self, body: ApproveRequest, *, idempotency_key: str | None = None
    ) -> RolloutView:
        """Approve, or refuse, the changed rule files that wait. `POST /v1/config:approve`."""
        answer: RolloutView = await self.call(
            "POST", "/v1/config:approve", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def apply_config(
        self, body: ApplyRequest, *, idempotency_key: str | None = None
    ) -> RolloutView:
        """Look at the folder now; break the glass. `POST /v1/config:apply`."""
        answer: RolloutView = await self.call(
            "POST", "/v1/config:apply", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def roll_back_config(
        self, body: RollbackRequest, *, idempotency_key: str | None = None
    ) -> RolloutView:
        """Put an earlier version in force. `POST /v1/config:rollback`."""
        answer: RolloutView = await self.call(
            "POST", "/v1/config:rollback", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def pause(self, body: PauseRequest, *, idempotency_key: str | None = None) -> PauseView:
        """Stop a campaign, caller, category, template or channel: held, not dropped. `POST /v1/pauses`."""
        answer: PauseView = await self.call(
            "POST", "/v1/pauses", body=body, idempotency_key=idempotency_key, keyed=True
        )
        return answer

    async def list_pauses(self) -> PausesView:
        """What is stopped, and how much each holds. `GET /v1/pauses`."""
        answer: PausesView = await self.call("GET", "/v1/pauses")
        return answer

    async def resume(
        self,
        *,
        scope: Literal["campaign", "caller", "category", "template", "channel"] | None = None,
        value: str | None = None,
        spread: str | None = None,
        idempotency_key: str | None = None,
    ) -> ResumedView:
        """Resume: let out what is held, spread. `DELETE /v1/pauses`."""
        answer: ResumedView = await self.call(
            "DELETE",
            "/v1/pauses",
            query={"scope": scope, "value": value, "spread": spread},
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return answer

    async def get_status(self) -> StatusView:
        """The state of everything, for operators. `GET /v1/status`."""
        answer: StatusView = await self.call("GET", "/v1/status")
        return answer

    async def get_liveness(self) -> dict[str, Any]:
        """Is the process alive. `GET /livez`."""
        answer: dict[str, Any] = await self.call("GET", "/livez")
        return answer

    async def get_readiness(self, *, verbose: str | None = None) -> ReadyView:
        """Can the process do its work. `GET /readyz`."""
        answer: ReadyView = await self.call("GET", "/readyz", query={"verbose": verbose})
        return answer

    async def get_health(self, *, verbose: str | None = None) -> ReadyView:
        """The same as /readyz. `GET /healthz`."""
        answer: ReadyView = await self.call("GET", "/healthz", query={"verbose": verbose})
        return answer

    async def get_metrics(self) -> str:
        """Prometheus metrics. `GET /metrics`."""
        return await self.text("GET", "/metrics")

    async def get_version(self) -> VersionView:
        """What runs here. `GET /version`."""
        answer: VersionView = await self.call("GET", "/version")
        return answer

    async def get_openapi(self) -> dict[str, Any]:
        """This description. `GET /openapi.json`."""
        answer: dict[str, Any] = await self.call("GET", "/openapi.json")
        return answer

    async def get_docs(self) -> str:
        """This description as a page. `GET /docs`."""
        return await self.text("GET", "/docs")
