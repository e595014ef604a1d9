"""Every operation of the API as a method that blocks; made from the OpenAPI document by `msgcenter.client.generate` (`make client`), not by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from msgcenter.client.loop import Loop
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
from msgcenter.client.operations import Operations
from msgcenter.client.sse import ServerEvent
from msgcenter.client.transport import Upload


class SyncOperations(Loop):
    """The same as Operations, each call to its end."""

    _async: Operations

    def send_message(
        self, body: MessageRequest, *, wait: str | None = None, idempotency_key: str | None = None
    ) -> AcceptedView:
        """Send one message to one recipient. `POST /v1/messages`."""
        return self._run(self._async.send_message(body, wait=wait, idempotency_key=idempotency_key))

    def list_messages(
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
        return self._run(
            self._async.list_messages(
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
        )

    def iter_messages(
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
    ) -> Iterator[MessageView]:
        """Every item of `list_messages`, page after page (`limit` is the size of a page)."""
        return self._each(
            self._async.iter_messages(
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
            )
        )

    def send_messages(self, body: BatchRequest, *, idempotency_key: str | None = None) -> BatchView:
        """Send up to 1,000 messages, each with its own result. `POST /v1/messages:batch`."""
        return self._run(self._async.send_messages(body, idempotency_key=idempotency_key))

    def cancel_message(self, id: str, *, idempotency_key: str | None = None) -> AcceptedView:
        """Cancel a message that has not left yet. `POST /v1/messages/{id}:cancel`."""
        return self._run(self._async.cancel_message(id, idempotency_key=idempotency_key))

    def explain_message(self, body: MessageRequest) -> ExplainedView:
        """What would become of a message now, without sending it. `POST /v1/messages:explain`."""
        return self._run(self._async.explain_message(body))

    def get_allowance(
        self, id: str, *, category: str | None = None, channel: str | None = None
    ) -> AllowanceView:
        """When a customer may be written to next, and what every cap leaves. `GET /v1/customers/{id}/allowance`."""
        return self._run(self._async.get_allowance(id, category=category, channel=channel))

    def recall_message(self, id: str, *, idempotency_key: str | None = None) -> RecallView:
        """Take back a message that has left, where the channel can. `POST /v1/messages/{id}:recall`."""
        return self._run(self._async.recall_message(id, idempotency_key=idempotency_key))

    def list_message_links(self, id: str) -> ShortLinksView:
        """The short links of a message and their clicks. `GET /v1/messages/{id}/links`."""
        return self._run(self._async.list_message_links(id))

    def send_signal(self, body: SignalRequest, *, idempotency_key: str | None = None) -> SignalView:
        """Tell of a business event or a click that plans may wait for. `POST /v1/signals`."""
        return self._run(self._async.send_signal(body, idempotency_key=idempotency_key))

    def take_opportunity(self, body: OpportunityRequest) -> AcceptedView:
        """Take in an opportunity that was not reached, and try it once more. `POST /v1/opportunities`."""
        return self._run(self._async.take_opportunity(body))

    def upload_media(
        self, data: Upload, *, content_type: str, name: str | None = None
    ) -> MediaView:
        """Keep a file to be sent. `POST /v1/media`."""
        return self._run(self._async.upload_media(data, content_type=content_type, name=name))

    def download_media(self, id: str) -> bytes:
        """A file, or a range of it. `GET /v1/media/{id}`."""
        return self._run(self._async.download_media(id))

    def link_media(self, id: str, body: LinkRequest | None = None) -> MediaLinkView:
        """A short-lived link to a file that needs no key. `POST /v1/media/{id}:link`."""
        return self._run(self._async.link_media(id, body))

    def open_link(self, id: str, *, exp: str | None = None, sig: str | None = None) -> bytes:
        """The file behind a link. `GET /m/{id}`."""
        return self._run(self._async.open_link(id, exp=exp, sig=sig))

    def get_message(self, id: str, *, wait: str | None = None) -> MessageView:
        """One message: status, deliveries, decisions. `GET /v1/messages/{id}`."""
        return self._run(self._async.get_message(id, wait=wait))

    def stream_events(
        self, *, cursor: str | None = None, from_: str | None = None, last_id: str = ""
    ) -> Iterator[ServerEvent]:
        """Events as they come (server-sent events). `GET /v1/events/stream`."""
        return self._each(self._async.stream_events(cursor=cursor, from_=from_, last_id=last_id))

    def read_events(
        self,
        *,
        cursor: str | None = None,
        from_: str | None = None,
        wait: str | None = None,
        limit: int | None = None,
    ) -> EventsView:
        """Events after a cursor (pull). `GET /v1/events`."""
        return self._run(
            self._async.read_events(cursor=cursor, from_=from_, wait=wait, limit=limit)
        )

    def create_subscription(
        self, body: SubscriptionRequest, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Have events delivered to a place. `POST /v1/subscriptions`."""
        return self._run(self._async.create_subscription(body, idempotency_key=idempotency_key))

    def list_subscriptions(self) -> SubscriptionsView:
        """Where events are delivered. `GET /v1/subscriptions`."""
        return self._run(self._async.list_subscriptions())

    def get_subscription(self, id: str) -> SubscriptionView:
        """How a subscription stands. `GET /v1/subscriptions/{id}`."""
        return self._run(self._async.get_subscription(id))

    def change_subscription(
        self, id: str, body: SubscriptionChange, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Change a subscription. `PATCH /v1/subscriptions/{id}`."""
        return self._run(self._async.change_subscription(id, body, idempotency_key=idempotency_key))

    def end_subscription(self, id: str, *, idempotency_key: str | None = None) -> EndedView:
        """End a subscription. `DELETE /v1/subscriptions/{id}`."""
        return self._run(self._async.end_subscription(id, idempotency_key=idempotency_key))

    def pause_subscription(
        self, id: str, body: SubscriptionPause | None = None, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Deliver nothing for a while. `POST /v1/subscriptions/{id}:pause`."""
        return self._run(self._async.pause_subscription(id, body, idempotency_key=idempotency_key))

    def resume_subscription(
        self, id: str, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Deliver again, from where it stopped. `POST /v1/subscriptions/{id}:resume`."""
        return self._run(self._async.resume_subscription(id, idempotency_key=idempotency_key))

    def replay_subscription(
        self, id: str, body: SubscriptionReplay, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """Deliver again from a point of the event log. `POST /v1/subscriptions/{id}:replay`."""
        return self._run(self._async.replay_subscription(id, body, idempotency_key=idempotency_key))

    def rotate_subscription_secret(
        self, id: str, *, idempotency_key: str | None = None
    ) -> SubscriptionView:
        """A new signing key, the old one signs on for a day. `POST /v1/subscriptions/{id}:rotate-secret`."""
        return self._run(
            self._async.rotate_subscription_secret(id, idempotency_key=idempotency_key)
        )

    def list_schemas(self) -> SchemasView:
        """Types of events, each with its JSON Schema. `GET /v1/schemas`."""
        return self._run(self._async.list_schemas())

    def get_schema(self, type: str) -> dict[str, Any]:
        """The JSON Schema of one type of event. `GET /v1/schemas/{type}`."""
        return self._run(self._async.get_schema(type))

    def list_inbox(
        self,
        *,
        owner: str | None = None,
        state: Literal["all", "unread"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> InboxView:
        """An inbox: items and unread count. `GET /v1/inbox`."""
        return self._run(
            self._async.list_inbox(owner=owner, state=state, limit=limit, cursor=cursor)
        )

    def iter_inbox(
        self,
        *,
        owner: str | None = None,
        state: Literal["all", "unread"] | None = None,
        limit: int | None = None,
    ) -> Iterator[ItemView]:
        """Every item of `list_inbox`, page after page (`limit` is the size of a page)."""
        return self._each(self._async.iter_inbox(owner=owner, state=state, limit=limit))

    def stream_inbox(
        self, *, owner: str | None = None, position: str | None = None, last_id: str = ""
    ) -> Iterator[ServerEvent]:
        """Changes of an inbox as they happen (server-sent events or WebSocket). `GET /v1/inbox/stream`."""
        return self._each(self._async.stream_inbox(owner=owner, position=position, last_id=last_id))

    def mark_inbox_item_read(self, id: str) -> ItemView:
        """An item was read. `POST /v1/inbox/{id}:read`."""
        return self._run(self._async.mark_inbox_item_read(id))

    def mark_inbox_read(self, body: MarkRequest) -> MarkedView:
        """Items were read. `POST /v1/inbox:read`."""
        return self._run(self._async.mark_inbox_read(body))

    def list_channels(self) -> KindsView:
        """Kinds of channels, their abilities and health. `GET /v1/channels`."""
        return self._run(self._async.list_channels())

    def list_accounts(
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
        return self._run(
            self._async.list_accounts(
                kind=kind,
                channel=channel,
                corp=corp,
                organisation=organisation,
                agent=agent,
                state=state,
                health=health,
            )
        )

    def get_account(self, id: str) -> AccountView:
        """One sending identity. `GET /v1/accounts/{id}`."""
        return self._run(self._async.get_account(id))

    def revoke_account(self, id: str, *, idempotency_key: str | None = None) -> AccountView:
        """Stop an account: nothing more is sent in its name. `POST /v1/accounts/{id}:revoke`."""
        return self._run(self._async.revoke_account(id, idempotency_key=idempotency_key))

    def restore_account(self, id: str, *, idempotency_key: str | None = None) -> AccountView:
        """Let a revoked account send again. `POST /v1/accounts/{id}:restore`."""
        return self._run(self._async.restore_account(id, idempotency_key=idempotency_key))

    def get_caller(self) -> CallerView:
        """Who am I, what may I send, what is left. `GET /v1/callers/me`."""
        return self._run(self._async.get_caller())

    def get_reconciliation(self, *, day: str | None = None) -> ReconciliationView:
        """What the archive kept against what was relayed. `GET /v1/reconciliation`."""
        return self._run(self._async.get_reconciliation(day=day))

    def list_reviews(
        self,
        *,
        state: Literal["waiting", "approved", "rejected", "expired", "all"] | None = None,
        caller: str | None = None,
        rule: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ReviewsView:
        """Content that waits for a decision. `GET /v1/reviews`."""
        return self._run(
            self._async.list_reviews(
                state=state, caller=caller, rule=rule, limit=limit, cursor=cursor
            )
        )

    def iter_reviews(
        self,
        *,
        state: Literal["waiting", "approved", "rejected", "expired", "all"] | None = None,
        caller: str | None = None,
        rule: str | None = None,
        limit: int | None = None,
    ) -> Iterator[ReviewView]:
        """Every item of `list_reviews`, page after page (`limit` is the size of a page)."""
        return self._each(
            self._async.iter_reviews(state=state, caller=caller, rule=rule, limit=limit)
        )

    def get_review(self, id: str) -> ReviewView:
        """One review. `GET /v1/reviews/{id}`."""
        return self._run(self._async.get_review(id))

    def approve_review(
        self, id: str, body: ApproveBody | None = None, *, idempotency_key: str | None = None
    ) -> ReviewView:
        """Let held content go on. `POST /v1/reviews/{id}:approve`."""
        return self._run(self._async.approve_review(id, body, idempotency_key=idempotency_key))

    def reject_review(
        self, id: str, body: RejectBody, *, idempotency_key: str | None = None
    ) -> ReviewView:
        """Do not send held content. `POST /v1/reviews/{id}:reject`."""
        return self._run(self._async.reject_review(id, body, idempotency_key=idempotency_key))

    def create_group(self, body: GroupRequest, *, idempotency_key: str | None = None) -> GroupView:
        """Make a group. `POST /v1/groups`."""
        return self._run(self._async.create_group(body, idempotency_key=idempotency_key))

    def list_groups(
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
        return self._run(
            self._async.list_groups(
                kind=kind,
                channel=channel,
                account=account,
                state=state,
                chat=chat,
                caller=caller,
                limit=limit,
                cursor=cursor,
            )
        )

    def iter_groups(
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
    ) -> Iterator[GroupView]:
        """Every item of `list_groups`, page after page (`limit` is the size of a page)."""
        return self._each(
            self._async.iter_groups(
                kind=kind,
                channel=channel,
                account=account,
                state=state,
                chat=chat,
                caller=caller,
                limit=limit,
            )
        )

    def get_group(self, id: str) -> GroupView:
        """One group. `GET /v1/groups/{id}`."""
        return self._run(self._async.get_group(id))

    def change_group(
        self, id: str, body: GroupChange, *, idempotency_key: str | None = None
    ) -> GroupView:
        """Change name, owner or members. `PATCH /v1/groups/{id}`."""
        return self._run(self._async.change_group(id, body, idempotency_key=idempotency_key))

    def dissolve_group(
        self, id: str, body: DissolveRequest | None = None, *, idempotency_key: str | None = None
    ) -> GroupView:
        """Dissolve a group, with time to undo it. `POST /v1/groups/{id}:dissolve`."""
        return self._run(self._async.dissolve_group(id, body, idempotency_key=idempotency_key))

    def approve_dissolution(self, id: str, *, idempotency_key: str | None = None) -> GroupView:
        """Approve a dissolution that another key asked for. `POST /v1/groups/{id}:approve`."""
        return self._run(self._async.approve_dissolution(id, idempotency_key=idempotency_key))

    def undo_dissolution(self, id: str, *, idempotency_key: str | None = None) -> GroupView:
        """Take a dissolution back, or the request for it. `POST /v1/groups/{id}:undo`."""
        return self._run(self._async.undo_dissolution(id, idempotency_key=idempotency_key))

    def check_group_seal(self, id: str) -> SealCheckView:
        """Check the seal of a dissolved group. `GET /v1/groups/{id}/seal`."""
        return self._run(self._async.check_group_seal(id))

    def list_customers(
        self,
        *,
        address: str | None = None,
        at: str | None = None,
        tag: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> CustomersView:
        """Customers, by address, by tag, or all. `GET /v1/customers`."""
        return self._run(
            self._async.list_customers(address=address, at=at, tag=tag, limit=limit, cursor=cursor)
        )

    def iter_customers(
        self,
        *,
        address: str | None = None,
        at: str | None = None,
        tag: str | None = None,
        limit: int | None = None,
    ) -> Iterator[CustomerView]:
        """Every item of `list_customers`, page after page (`limit` is the size of a page)."""
        return self._each(self._async.iter_customers(address=address, at=at, tag=tag, limit=limit))

    def put_customers(
        self, body: CustomersBody, *, idempotency_key: str | None = None
    ) -> CustomersResultView:
        """Make or change up to 1,000 customers. `POST /v1/customers:batch`."""
        return self._run(self._async.put_customers(body, idempotency_key=idempotency_key))

    def put_customer(
        self, id: str, body: CustomerBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Make a customer, or say more of one. `PUT /v1/customers/{id}`."""
        return self._run(self._async.put_customer(id, body, idempotency_key=idempotency_key))

    def get_customer(self, id: str) -> CustomerView:
        """One customer. `GET /v1/customers/{id}`."""
        return self._run(self._async.get_customer(id))

    def put_preferences(
        self, id: str, body: PreferencesBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Do-not-disturb, service messages only, preferred channels. `PUT /v1/customers/{id}/preferences`."""
        return self._run(self._async.put_preferences(id, body, idempotency_key=idempotency_key))

    def get_preferences(self, id: str) -> PreferencesView:
        """What a customer wants to be sent. `GET /v1/customers/{id}/preferences`."""
        return self._run(self._async.get_preferences(id))

    def add_consent(
        self, id: str, body: ConsentBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Write down that it agreed, or took it back. `POST /v1/customers/{id}/consents`."""
        return self._run(self._async.add_consent(id, body, idempotency_key=idempotency_key))

    def list_consents(
        self, id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> ConsentsView:
        """The evidence of its consents. `GET /v1/customers/{id}/consents`."""
        return self._run(self._async.list_consents(id, limit=limit, cursor=cursor))

    def iter_consents(self, id: str, *, limit: int | None = None) -> Iterator[ConsentView]:
        """Every item of `list_consents`, page after page (`limit` is the size of a page)."""
        return self._each(self._async.iter_consents(id, limit=limit))

    def add_block(
        self, id: str, body: BlockBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Put it on the block list. `POST /v1/customers/{id}/blocks`."""
        return self._run(self._async.add_block(id, body, idempotency_key=idempotency_key))

    def remove_block(
        self, id: str, block: str, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """Lift a block. `DELETE /v1/customers/{id}/blocks/{block}`."""
        return self._run(self._async.remove_block(id, block, idempotency_key=idempotency_key))

    def list_customer_audit(
        self, id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> AuditsView:
        """Who changed what about it. `GET /v1/customers/{id}/audit`."""
        return self._run(self._async.list_customer_audit(id, limit=limit, cursor=cursor))

    def iter_customer_audit(self, id: str, *, limit: int | None = None) -> Iterator[AuditView]:
        """Every item of `list_customer_audit`, page after page (`limit` is the size of a page)."""
        return self._each(self._async.iter_customer_audit(id, limit=limit))

    def link_customer(
        self, id: str, body: LinkBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """It and another are one person. `POST /v1/customers/{id}:link`."""
        return self._run(self._async.link_customer(id, body, idempotency_key=idempotency_key))

    def unlink_customer(
        self, id: str, body: UnlinkBody, *, idempotency_key: str | None = None
    ) -> CustomerView:
        """They are two after all. `POST /v1/customers/{id}:unlink`."""
        return self._run(self._async.unlink_customer(id, body, idempotency_key=idempotency_key))

    def erase_customer(
        self, id: str, body: EraseBody | None = None, *, idempotency_key: str | None = None
    ) -> ErasedView:
        """Forget it on request. `POST /v1/customers/{id}:erase`."""
        return self._run(self._async.erase_customer(id, body, idempotency_key=idempotency_key))

    def make_preference_link(
        self, id: str, body: PreferenceLinkBody | None = None
    ) -> PreferenceLinkView:
        """A link to the customer's own settings. `POST /v1/customers/{id}/preference-link`."""
        return self._run(self._async.make_preference_link(id, body))

    def list_dead_letters(
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
        return self._run(
            self._async.list_dead_letters(
                channel=channel,
                code=code,
                message=message,
                replayed=replayed,
                after=after,
                before=before,
                limit=limit,
                cursor=cursor,
            )
        )

    def iter_dead_letters(
        self,
        *,
        channel: str | None = None,
        code: str | None = None,
        message: str | None = None,
        replayed: Literal["true", "false"] | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> Iterator[DeadView]:
        """Every item of `list_dead_letters`, page after page (`limit` is the size of a page)."""
        return self._each(
            self._async.iter_dead_letters(
                channel=channel,
                code=code,
                message=message,
                replayed=replayed,
                after=after,
                before=before,
                limit=limit,
            )
        )

    def replay_dead_letters(
        self, body: ReplayManyRequest | None = None, *, idempotency_key: str | None = None
    ) -> ReplayView:
        """Send in again all that fit. `POST /v1/dead-letters:replay`."""
        return self._run(self._async.replay_dead_letters(body, idempotency_key=idempotency_key))

    def get_dead_letter(self, id: str) -> DeadView:
        """One dead letter. `GET /v1/dead-letters/{id}`."""
        return self._run(self._async.get_dead_letter(id))

    def replay_dead_letter(
        self, id: str, body: ReplayRequest | None = None, *, idempotency_key: str | None = None
    ) -> ReplayView:
        """Send one in again. `POST /v1/dead-letters/{id}:replay`."""
        return self._run(self._async.replay_dead_letter(id, body, idempotency_key=idempotency_key))

    def create_key(self, body: KeyRequest, *, idempotency_key: str | None = None) -> KeyView:
        """Make an API key; its secret is shown once. `POST /v1/keys`."""
        return self._run(self._async.create_key(body, idempotency_key=idempotency_key))

    def list_keys(self, *, caller: str | None = None) -> KeysView:
        """All API keys, without secrets. `GET /v1/keys`."""
        return self._run(self._async.list_keys(caller=caller))

    def revoke_key(self, id: str, *, idempotency_key: str | None = None) -> KeyView:
        """End an API key. `POST /v1/keys/{id}:revoke`."""
        return self._run(self._async.revoke_key(id, idempotency_key=idempotency_key))

    def get_config(self) -> RolloutView:
        """Which rules are in force, and what waits for whom. `GET /v1/config`."""
        return self._run(self._async.get_config())

    def list_config_versions(self) -> ConfigVersionsView:
        """What was in force before. `GET /v1/config/versions`."""
        return self._run(self._async.list_config_versions())

    def get_config_version(self, id: str) -> ConfigVersionView:
        """One version, with its texts. `GET /v1/config/versions/{id}`."""
        return self._run(self._async.get_config_version(id))

    def approve_config(
        self, body: ApproveRequest, *, idempotency_key: str | None = None
    ) -> RolloutView:
        """Approve, or refuse, the changed rule files that wait. `POST /v1/config:approve`."""
        return self._run(self._async.approve_config(body, idempotency_key=idempotency_key))

    def apply_config(
        self, body: ApplyRequest, *, idempotency_key: str | None = None
    ) -> RolloutView:
        """Look at the folder now; break the glass. `POST /v1/config:apply`."""
        return self._run(self._async.apply_config(body, idempotency_key=idempotency_key))

    def roll_back_config(
        self, body: RollbackRequest, *, idempotency_key: str | None = None
    ) -> RolloutView:
        """Put an earlier version in force. `POST /v1/config:rollback`."""
        return self._run(self._async.roll_back_config(body, idempotency_key=idempotency_key))

    def pause(self, body: PauseRequest, *, idempotency_key: str | None = None) -> PauseView:
        """Stop a campaign, caller, category, template or channel: held, not dropped. `POST /v1/pauses`."""
        return self._run(self._async.pause(body, idempotency_key=idempotency_key))

    def list_pauses(self) -> PausesView:
        """What is stopped, and how much each holds. `GET /v1/pauses`."""
        return self._run(self._async.list_pauses())

    def resume(
        self,
        *,
        scope: Literal["campaign", "caller", "category", "template", "channel"] | None = None,
        value: str | None = None,
        spread: str | None = None,
        idempotency_key: str | None = None,
    ) -> ResumedView:
        """Resume: let out what is held, spread. `DELETE /v1/pauses`."""
        return self._run(
            self._async.resume(
                scope=scope, value=value, spread=spread, idempotency_key=idempotency_key
            )
        )

    def get_status(self) -> StatusView:
        """The state of everything, for operators. `GET /v1/status`."""
        return self._run(self._async.get_status())

    def get_liveness(self) -> dict[str, Any]:
        """Is the process alive. `GET /livez`."""
        return self._run(self._async.get_liveness())

    def get_readiness(self, *, verbose: str | None = None) -> ReadyView:
        """Can the process do its work. `GET /readyz`."""
        return self._run(self._async.get_readiness(verbose=verbose))

    def get_health(self, *, verbose: str | None = None) -> ReadyView:
        """The same as /readyz. `GET /healthz`."""
        return self._run(self._async.get_health(verbose=verbose))

    def get_metrics(self) -> str:
        """Prometheus metrics. `GET /metrics`."""
        return self._run(self._async.get_metrics())

    def get_version(self) -> VersionView:
        """What runs here. `GET /version`."""
        return self._run(self._async.get_version())

    def get_openapi(self) -> dict[str, Any]:
        """This description. `GET /openapi.json`."""
        return self._run(self._async.get_openapi())

    def get_docs(self) -> str:
        """This description as a page. `GET /docs`."""
        return self._run(self._async.get_docs())
