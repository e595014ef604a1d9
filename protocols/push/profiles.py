"""The engines that are known: Getui, JPush, Umeng, Huawei and a plain one signed by HMAC, each one value; what differs is configured.

Sources: docs.getui.com rest_v2 (token, push, code, receipt); jpush-docs rest_api_v3 (push, report); Umeng U-Push send API;
Huawei Push Kit v1 (send, receipt). Where a page says nothing (a rate, a code) nothing is claimed: such codes fall to `*`, and
which engine an app sits on, and its quotas, is to be asked of whoever runs the app.

Long because it is data: a value for each engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.push.profile import Answers, Auth, Call, Profile, Receipts
from protocols.push.signing import Signature

GETUI = Profile(
    title="Getui (个推) REST v2",
    auth=Auth(
        mode="exchange",
        header="token",
        call=Call(
            "/{app}/auth",
            body={"sign": "{sign}", "timestamp": "{timestamp_ms}", "appkey": "{key}"},
        ),
        signature=Signature("sha256", ("{key}", "{timestamp_ms}", "{secret}")),
        token="data/token",  # noqa: S106 - a path
        lasts_s=86_400.0,
    ),
    send=Call(
        "/{app}/push/single/cid",
        body={
            "request_id": "{id}",
            "settings": {"ttl": "{ttl_ms}"},
            "audience": {"cid": "{tokens}"},
            "push_message": {
                "notification": {
                    "title": "{title}",
                    "body": "{body}",
                    "click_type": "{click}",
                    "url": "{url}",
                    "payload": "{data_text}",
                }
            },
        },
    ),
    withdraw=Call(
        "/{app}/push/single/cid",
        body={
            "request_id": "{id}",
            "audience": {"cid": "{tokens}"},
            "push_message": {"revoke": {"old_task_id": "{remote_id}"}},
        },
    ),
    answers=Answers(
        codes=("data/*/*", "code"),
        ids=("data/%",),
        details=("msg",),
        outcomes={
            "successed_online": "ok",
            "successed_offline": "ok",
            "successed_ignore": "dead",  # inactive for 90 days: it is never shown
            "0": "ok",
            "10001": "refresh",
            "10002": "account",
            "10005": "throttle",
            "*": "reject",
        },
    ),
    repeat="loses",
    receipts=Receipts(
        how="push",
        lines=True,
        id="taskid",
        token="cid",  # noqa: S106 - a path
        code="code",
        states={"0": "delivered", "*": "undelivered"},
        check="item",
        signature=Signature("md5", ("{appid}", "{cid}", "{taskid}", "{msgid}", "{secret}")),
        signed="sign",
        late_s=86_400.0,
    ),
    clicks=("url", "startapp"),
    limits={
        "repeat": "a repeated request_id loses the message: an unknown outcome is never sent again",
        "ttl": "2 h unless said, at most 3 days",
        "receipts": "told three times, then lost",
    },
)

JPUSH = Profile(
    title="JPush (极光) v3",
    auth=Auth(mode="basic"),
    ids=Call("/v3/push/cid?count=20", method="GET"),
    ids_at="cidlist",
    send=Call(
        "/v3/push",
        body={
            "cid": "{id}",
            "platform": "all",
            "audience": {"registration_id": "{tokens}"},
            "notification": {
                "android": {"alert": "{body}", "title": "{title}", "extras": "{data}"},
                "ios": {"alert": {"title": "{title}", "body": "{body}"}, "extras": "{data}"},
            },
            "options": {"time_to_live": "{ttl_s}", "classification": "{class}"},
        },
    ),
    validate=Call(
        "/v3/push/validate",
        body={
            "platform": "all",
            "audience": {"registration_id": "{tokens}"},
            "notification": {"android": {"alert": "{body}", "title": "{title}"}},
            "options": {"time_to_live": "{ttl_s}"},
        },
    ),
    answers=Answers(
        codes=("error/code",),
        ids=("msg_id",),
        details=("error/message",),
        outcomes={
            "http 200": "ok",
            "1000": "unknown",
            "1004": "account",
            "1011": "dead",
            "1030": "unknown",
            "2002": "throttle",
            "2003": "account",
            "2005": "limit",
            "*": "reject",
        },
        reset_header="X-Rate-Limit-Reset",
        left_header="X-Rate-Limit-Remaining",
    ),
    batch=1000,
    repeat="returns-first",
    receipts=Receipts(
        how="poll",
        id="msg_id",
        counts=("android_received", "ios_apns_received", "ios_msg_received"),
        call=Call("/v3/received?msg_ids={remote_id}", method="GET"),
        late_s=86_400.0,
    ),
    ttl_most_s=10 * 86_400,
    per_minute=600,
    classes={"service": "1", "marketing": "0"},
    limits={
        "rate": "600 calls a minute in the free tier",
        "repeat": "a cid is good for a day and must be fetched first",
        "receipts": "asked for, up to 100 messages at a time",
    },
)

UMENG = Profile(
    title="Umeng U-Push (友盟)",
    auth=Auth(
        mode="sign",
        signature=Signature("md5", ("{method}", "{path_url}", "{body_text}", "{secret}")),
        query="sign",
    ),
    send=Call(
        "/api/send",
        body={
            "appkey": "{key}",
            "timestamp": "{timestamp}",
            "type": "listcast",
            "device_tokens": "{tokens_text}",
            "payload": {
                "display_type": "notification",
                "body": {
                    "ticker": "{title}",
                    "title": "{title}",
                    "text": "{body}",
                    "after_open": "{click}",
                    "url": "{url}",
                },
                "extra": "{data}",
            },
            "policy": {"expire_time": "{expires}", "out_biz_no": "{id}"},
        },
    ),
    answers=Answers(
        codes=("data/error_code", "ret"),
        ids=("data/msg_id", "data/task_id"),
        details=("data/error_msg",),
        outcomes={"SUCCESS": "ok", "*": "reject"},
    ),
    batch=500,
    repeat="returns-first",
    clicks=("go_url", "go_app"),
    limits={"receipts": "none here: its receipt interface is not described publicly"},
)

HUAWEI = Profile(
    title="Huawei Push Kit v1 (华为推送)",
    auth=Auth(
        mode="exchange",
        prefix="Bearer ",
        call=Call(
            "/oauth2/v3/token",
            form=True,
            body={
                "grant_type": "client_credentials",
                "client_id": "{key}",
                "client_secret": "{secret}",
            },
        ),
        token="access_token",  # noqa: S106 - a path
        lasts="expires_in",
    ),
    send=Call(
        "/v1/{app}/messages:send",
        body={
            "validate_only": "{dry_run}",
            "message": {
                "notification": {"title": "{title}", "body": "{body}"},
                "data": "{data_text}",
                "android": {
                    "category": "{class}",
                    "urgency": "{priority}",
                    "ttl": "{ttl_text}",
                    "notification": {"click_action": {"type": "{click}", "url": "{url}"}},
                },
                "token": "{tokens}",
            },
        },
    ),
    answers=Answers(
        codes=("code",),
        ids=("requestId",),
        details=("msg",),
        outcomes={
            "80000000": "ok",
            "80100000": "ok",  # some of the devices; receipts tell which not
            "80200001": "account",
            "80200003": "refresh",
            "80300007": "dead",
            "81000001": "unknown",
            "*": "reject",
        },
    ),
    batch=1000,
    receipts=Receipts(
        how="push",
        items="statuses",
        id="requestId",
        token="token",  # noqa: S106 - a path
        code="status",
        at="timestamp",
        states={"0": "delivered", "*": "undelivered"},
        dead=frozenset({"2", "5", "10"}),
        check="huawei",
        signature=Signature("hmac-sha256", ("{timestamp}:{nonce}:{body_text}",), encoding="base64"),
        signed="X-HUAWEI-CALLBACK-ID",
    ),
    per_device_day={"service": 3000, "marketing": 2},
    classes={"service": "WORK", "marketing": "MARKETING"},
    priorities={"high": "HIGH", "normal": "NORMAL"},
    clicks=("2", "3"),
    limits={
        "size": "4,096 octets, 1,000 devices a call",
        "day": "3,000 a device and app, of marketing 2 or 5 by class; what is over is discarded (receipt 102)",
        "repeat": "not recognised: an unknown outcome is never sent again",
    },
)

PLAIN = Profile(
    title="plain HTTP, signed by HMAC",
    auth=Auth(
        mode="sign",
        signature=Signature("hmac-sha256", ("{timestamp}", "{nonce}", "{body_text}"), glue="\n"),
        headers={
            "X-Push-Key": "{key}",
            "X-Push-Timestamp": "{timestamp}",
            "X-Push-Nonce": "{nonce}",
            "X-Push-Signature": "{sign}",
        },
    ),
    send=Call(
        "/messages",
        body={
            "id": "{id}",
            "devices": "{tokens}",
            "title": "{title}",
            "body": "{body}",
            "url": "{url}",
            "data": "{data}",
            "ttl": "{ttl_s}",
            "class": "{class}",
        },
    ),
    withdraw=Call("/messages/{remote_id}", method="DELETE"),
    answers=Answers(
        codes=("code",),
        ids=("id",),
        details=("message",),
        outcomes={
            "ok": "ok",
            "dead": "dead",
            "limit": "limit",
            "busy": "retry",
            "unsigned": "account",
            "*": "reject",
        },
    ),
    batch=500,
    repeat="returns-first",
    ours=True,
    receipts=Receipts(
        how="push",
        items="receipts",
        id="id",
        token="device",  # noqa: S106 - a path
        code="event",
        at="at",
        states={
            "delivered": "delivered",
            "clicked": "read",
            "failed": "undelivered",
            "dead": "undelivered",
        },
        dead=frozenset({"dead"}),
        check="header",
        signature=Signature("hmac-sha256", ("{timestamp}", "{nonce}", "{body_text}"), glue="\n"),
        signed="X-Push-Signature",
        timestamp_header="X-Push-Timestamp",
        nonce_header="X-Push-Nonce",
    ),
    classes={"service": "service", "marketing": "marketing"},
)

PROFILES: Mapping[str, Profile] = {
    "getui": GETUI,
    "jpush": JPUSH,
    "umeng": UMENG,
    "huawei": HUAWEI,
    "plain": PLAIN,
}
