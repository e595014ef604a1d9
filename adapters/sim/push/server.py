"""The simulated push engine: one HTTP server, its manners chosen by `profile`.

It checks what it is given by its own reading of the engine's documents, not by our profile, so that a wrong template shows.
One file on purpose: the five manners share their devices, faults, journal and receipts, and are best compared side by side.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from random import Random
from typing import Any

import aiohttp
from aiohttp import web

from adapters.sim.push.options import PushFaults, PushOptions
from msgcenter.clock import Clock, SystemClock
from msgcenter.simulator import Journal

TRIES, AGAIN_S = 40, 0.05


class Refused(Exception):
    """An answer other than success: (HTTP status, body)."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(status))
        self.status, self.body = status, body


class PushSim:
    """A push engine. The journal holds what reached devices: {id, request, devices, title, body, repeat}."""

    Options = PushOptions

    def __init__(self, options: PushOptions, journal: Journal, clock: Clock | None = None) -> None:
        self.options = options
        self.journal = journal
        self.port = options.port
        self.clock: Clock = clock or SystemClock()
        self.faults = PushFaults()
        self.receipts_url = options.receipts_url
        self.taken: dict[str, str] = {}
        """Our id -> the engine's."""
        self.received: set[str] = set()
        """JPush: message ids that have a receipt."""
        self.withdrawn: list[str] = []
        self.signed_in = 0
        """Times that a token was given out."""
        self.checked = 0
        """Calls of a dry run: answered, not shown."""
        self.urgencies: list[str] = []
        """Huawei: of what was shown."""
        self._token = ""
        self._numbers = 0
        self._dice = Random(options.seed)  # noqa: S311 - not secret
        self._telling: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; also after `stop`, on the same port. Raises OSError when the port is taken."""
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, self.options.host, self.port, reuse_address=True)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        for task in list(self._telling):
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        if runner is not None:
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self.options.host}:{self.port}"

    def banner(self) -> list[str]:
        options = self.options
        return [
            f"push ({options.profile}): {self.url}",
            f"app: {options.app}  key: {options.key}  secret: {options.secret}",
        ]

    async def control(self, command: str, args: dict[str, Any]) -> dict[str, Any]:
        """`faults` {…} answers all switches · `receipt` {id, device?, code} tells one now (a click, say) · `receipts_url` {url} ·
        `journal` {limit?}. Raises ValueError for an order that makes no sense."""
        match command:
            case "faults":
                self.faults = PushFaults.model_validate(self.faults.model_dump() | args)
                return self.faults.model_dump()
            case "receipt":
                id_, code = str(args["id"]), str(args["code"])
                self._tell(id_, str(args.get("device", "")), code, 0.0)
                return {"told": id_}
            case "receipts_url":
                self.receipts_url = str(args["url"])
                return {"url": self.receipts_url}
            case "journal":
                limit = int(args.get("limit", 100))
                entries = self.journal.entries()[-limit:] if limit > 0 else []
                return {"entries": entries, "total": self.journal.total}
            case _:
                raise ValueError(
                    f"no such command: {command}; faults, receipt, receipts_url, journal"
                )

    # -- calls ------------------------------------------------------------------------------------

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            if self.faults.fail_next:
                self.faults.fail_next -= 1
                raise Refused(500, {})
            answer = getattr(self, f"_{self.options.profile}")(request, body)
        except Refused as refused:
            headers = {"X-Rate-Limit-Reset": "7"} if refused.status == 429 else {}
            return web.json_response(refused.body, status=refused.status, headers=headers)
        except (KeyError, ValueError, TypeError) as error:
            return web.json_response({"code": "bad", "message": repr(error)[:200]}, status=400)
        if self.faults.lose_next and answer.pop("_sent", False):
            self.faults.lose_next -= 1
            if request.transport is not None:
                request.transport.abort()
        answer.pop("_sent", None)
        headers = {}
        if self.faults.calls_left is not None:
            left = self.faults.calls_left = max(0, self.faults.calls_left - 1)
            headers = {"X-Rate-Limit-Remaining": str(left), "X-Rate-Limit-Reset": "7"}
        return web.json_response(answer.pop("_list", None) or answer, headers=headers)

    def _throttled(self, status: int, body: Mapping[str, Any]) -> None:
        if self.faults.throttle_next:
            self.faults.throttle_next -= 1
            raise Refused(status, body)

    def _alive(self, devices: list[str]) -> list[str]:
        return [one for one in devices if not one.startswith(self.faults.dead)]

    def _shown(
        self, request: str, devices: list[str], title: str, text: str, *, once: bool, prefix: str
    ) -> str:
        """Show it on the devices; the engine's id of it. `once`: a repeat of `request` shows nothing and gives the first id."""
        if once and request in self.taken:
            return self.taken[request]
        self._numbers += 1
        repeat = request in self.taken
        message = f"{prefix}{self._numbers}"
        self.taken[request] = message
        entry = {"id": message, "request": request, "devices": devices, "title": title}
        if not repeat:
            self.journal.append({**entry, "body": text, "time": self.clock.now_ms()})
        for device in devices:
            self._tell(message, device, "", self.options.receipt_delay_s)
        return message

    def _getui(self, request: web.Request, body: bytes) -> dict[str, Any]:
        options, fields = self.options, json.loads(body)
        if request.path.endswith("/auth"):
            text = fields["appkey"] + str(fields["timestamp"]) + options.secret
            if fields["sign"] != hashlib.sha256(text.encode()).hexdigest():
                raise Refused(200, {"code": 10001, "msg": "sign error"})
            return {"code": 0, "msg": "success", "data": {"token": self._new_token()}}
        if request.headers.get("token") != self._token or not self._token:
            raise Refused(401, {"code": 10001, "msg": "token error"})
        self._throttled(200, {"code": 10005, "msg": "rate"})
        [cid] = fields["audience"]["cid"]
        given, message = fields["request_id"], fields["push_message"]
        if not 10 <= len(given) <= 32:
            raise Refused(400, {"code": 20001, "msg": "request_id"})
        if "revoke" in message:
            self.withdrawn.append(message["revoke"]["old_task_id"])
            return {"code": 0, "data": {f"RASR_{len(self.withdrawn)}": {cid: "successed_online"}}}
        if not self._alive([cid]):
            return {"code": 0, "data": {"RASS_0": {cid: "successed_ignore"}}}
        note = message["notification"]
        task = self._shown(given, [cid], note["title"], note["body"], once=False, prefix="RASS_")
        return {"code": 0, "data": {task: {cid: "successed_online"}}, "_sent": True}

    def _jpush(self, request: web.Request, body: bytes) -> dict[str, Any]:
        pair = f"{self.options.key}:{self.options.secret}".encode()
        if request.headers.get("Authorization") != f"Basic {base64.b64encode(pair).decode()}":
            raise Refused(401, {"error": {"code": 1004, "message": "authentication"}})
        if request.path == "/v3/push/cid":
            count = int(request.query["count"])
            return {
                "cidlist": [
                    f"{self.options.key}-{self._dice.getrandbits(64):x}" for _ in range(count)
                ]
            }
        if request.path == "/v3/received":
            ids = request.query["msg_ids"].split(",")
            found = [one for one in ids if one in self.received]
            rows = [
                {"msg_id": int(one), "android_received": 1, "ios_apns_sent": None} for one in found
            ]
            return {
                "_list": rows or [{"msg_id": int(one), "android_received": None} for one in ids]
            }
        self._throttled(429, {"error": {"code": 2002, "message": "rate"}})
        fields = json.loads(body)
        devices = self._alive(fields["audience"]["registration_id"])
        if not devices:
            raise Refused(400, {"error": {"code": 1011, "message": "no such devices"}})
        note = fields["notification"]["android"]
        if request.path == "/v3/push/validate":
            self.checked += 1
            return {"sendno": "0", "msg_id": "0"}
        message = self._shown(
            fields["cid"], devices, note["title"], note["alert"], once=True, prefix="18"
        )
        return {"sendno": "0", "msg_id": message, "_sent": True}

    def _umeng(self, request: web.Request, body: bytes) -> dict[str, Any]:
        text = f"POST{self.url}{request.path}".encode() + body + self.options.secret.encode()
        right = hashlib.md5(text, usedforsecurity=False).hexdigest()
        if request.query.get("sign") != right:
            raise Refused(400, {"ret": "FAIL", "data": {"error_code": "2019", "error_msg": "sign"}})
        self._throttled(429, {"ret": "FAIL", "data": {}})
        fields = json.loads(body)
        if len(str(fields["timestamp"])) != 10 or fields["type"] != "listcast":
            raise ValueError("timestamp, type")
        devices = self._alive(fields["device_tokens"].split(","))
        if not devices:
            raise Refused(400, {"ret": "FAIL", "data": {"error_code": "1000"}})
        said, policy = fields["payload"]["body"], fields["policy"]
        message = self._shown(
            policy["out_biz_no"], devices, said["title"], said["text"], once=True, prefix="um"
        )
        return {"ret": "SUCCESS", "data": {"msg_id": message}, "_sent": True}

    def _huawei(self, request: web.Request, body: bytes) -> dict[str, Any]:
        if request.path == "/oauth2/v3/token":
            expected = f"client_id={self.options.key}&client_secret={self.options.secret}"
            if f"grant_type=client_credentials&{expected}" != body.decode():
                raise Refused(400, {"error": 1101, "error_description": "invalid client"})
            return {"access_token": self._new_token(), "expires_in": 3600, "token_type": "Bearer"}
        if request.headers.get("Authorization") != f"Bearer {self._token}" or not self._token:
            raise Refused(401, {"code": "80200003", "msg": "OAuth token expired"})
        self._throttled(503, {"code": "", "msg": "busy"})
        order = json.loads(body)
        message = order["message"]
        devices = self._alive(message["token"])
        if not devices:
            return {"code": "80300007", "msg": "all the tokens are invalid", "requestId": "0"}
        note = message["notification"]
        if order.get("validate_only"):
            self.checked += 1
            return {"code": "80000000", "msg": "Success", "requestId": "validate"}
        self.urgencies.append(message["android"].get("urgency", ""))
        # It knows no repeat: every call has an id of its own, and is shown.
        given = f"call{self._numbers}"
        id_ = self._shown(given, devices, note["title"], note["body"], once=False, prefix="hw")
        return {"code": "80000000", "msg": "Success", "requestId": id_, "_sent": True}

    def _plain(self, request: web.Request, body: bytes) -> dict[str, Any]:
        stamp, nonce = (
            request.headers.get(f"X-Push-{name}", "") for name in ("Timestamp", "Nonce")
        )
        right = self._mac(stamp, nonce, body)
        if request.headers.get("X-Push-Signature") != right or not nonce:
            raise Refused(403, {"code": "unsigned", "message": "signature"})
        self._throttled(429, {"code": "", "message": "rate"})
        if request.method == "DELETE":
            self.withdrawn.append(request.path.rsplit("/", 1)[1])
            return {"code": "ok", "id": self.withdrawn[-1]}
        fields = json.loads(body)
        devices = self._alive(fields["devices"])
        if not devices:
            raise Refused(404, {"code": "dead", "message": "gone"})
        given = fields["id"]
        if given not in self.taken:
            self._shown(given, devices, fields["title"], fields["body"], once=True, prefix="n")
        return {"code": "ok", "id": given, "_sent": True}

    def _new_token(self) -> str:
        self.signed_in += 1
        token = f"token{self.signed_in}"
        self._token = "" if self.faults.expire_token else token
        self.faults.expire_token = False
        return token

    # -- receipts ---------------------------------------------------------------------------------

    def _tell(self, message: str, device: str, code: str, delay: float) -> None:
        if self.options.profile == "jpush":
            if self._dice.random() >= self.faults.lose_receipts:
                self.received.add(message)
            return
        if not self.receipts_url or self._dice.random() < self.faults.lose_receipts:
            return
        body, headers = self._receipt(message, device, code or self.faults.receipt_code)
        if body:
            task = asyncio.create_task(self._post(body, headers, delay))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    def _receipt(self, message: str, device: str, code: str) -> tuple[bytes, dict[str, str]]:
        options, now = self.options, self.clock.now_ms()
        nonce = f"{self._dice.getrandbits(64):x}"
        match options.profile:
            case "getui":
                text = f"{options.app}{device}{message}m1{options.secret}"
                sign = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
                item = {"appid": options.app, "cid": device, "taskid": message, "msgid": "m1"}
                return json.dumps({**item, "code": code or "0", "sign": sign}).encode() + b"\n", {}
            case "huawei":
                status = {"requestId": message, "token": device, "status": int(code or 0)}
                body = json.dumps({"statuses": [{**status, "timestamp": now}]}).encode()
                text = f"{now}:{nonce}:{body.decode()}"
                mac = hmac.digest(options.secret.encode(), text.encode(), "sha256")
                value = base64.b64encode(mac).decode()
                header = f"timestamp={now}; nonce={nonce}; value={value}"
                return body, {"X-HUAWEI-CALLBACK-ID": header}
            case "plain":
                ours = next((one for one, its in self.taken.items() if its == message), message)
                item = {"id": ours, "device": device, "event": code or "delivered"}
                body = json.dumps({"receipts": [{**item, "at": now}]}).encode()
                stamp = str(now // 1000)
                signed = self._mac(stamp, nonce, body)
                names = ("X-Push-Timestamp", "X-Push-Nonce", "X-Push-Signature")
                return body, dict(zip(names, (stamp, nonce, signed), strict=True))
            case _:
                return b"", {}

    def _mac(self, stamp: str, nonce: str, body: bytes) -> str:
        text = f"{stamp}\n{nonce}\n".encode() + body
        return hmac.digest(self.options.secret.encode(), text, "sha256").hex()

    async def _post(self, body: bytes, headers: Mapping[str, str], delay: float) -> None:
        """Until it is taken, a bounded number of times."""
        await asyncio.sleep(delay)
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for _ in range(TRIES):
                try:
                    async with http.post(self.receipts_url, data=body, headers=headers) as response:
                        if response.status < 300:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(AGAIN_S)
