"""What reaches a push channel from outside: receipts from the engine, and devices from the app's backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from adapters.push.devices import Busy, Devices
from adapters.push.settings import PushSettings
from msgcenter.adapter import Malformed, Port, Report, Request, Response
from protocols.address import Address
from protocols.fields import as_text
from protocols.jsontext import parse
from protocols.push import answers
from protocols.webhook import signing

PEOPLE = frozenset({"gridapp", "customer"})


class PushHooks:
    """An answer of 2xx comes only after what was told is durable."""

    def __init__(self, settings: PushSettings, port: Port, devices: Devices) -> None:
        self._settings = settings
        self._port = port
        self._devices = devices
        self._secrets = tuple(secret.reveal() for secret in settings.device_secrets)

    def paths(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        paths: dict[str, Callable[[Request], Awaitable[Response]]] = {}
        if self._settings.made.receipts.how == "push":
            paths["receipts"] = self.receipts
        if self._secrets:
            paths["devices"] = self.devices
        return paths

    async def receipts(self, request: Request) -> Response:
        """Raises Malformed for what is not signed as it must be: the whole call is refused, nothing of it is believed."""
        secret = self._settings.receipt_secret or self._settings.secret
        found = answers.receipts(
            self._settings.made.receipts,
            request.body,
            request.headers,
            secret.reveal(),
            self._settings.app,
            self._port.clock.now_ms() // 1000,
        )
        reports = []
        for one in found:
            owner = await self._devices.owner(one.token) if one.token else None
            reports.append(Report(one.report, owner, one.token[:64]))
        await self._port.emit(reports)
        await self._devices.forget_dead([one.token for one in found if one.dead and one.token])
        return Response(200, b'{"code":"0"}', "application/json")

    async def devices(self, request: Request) -> Response:
        """`{"devices": [{"address": "gridapp:zhangsan", "token": "…", "platform": "android"}], "gone": [{"address", "token"}]}`,
        signed by Standard Webhooks; a repeat changes nothing. Raises Malformed."""
        now = self._port.clock.now_ms()
        signing.verify(self._secrets, request.headers, request.body, now // 1000)
        fields = parse(request.body)
        here, gone = ([_device(one) for one in _list(fields, name)] for name in ("devices", "gone"))
        try:
            for address, token, platform in here:
                await self._devices.register(address, token, platform, now)
            for address, token, _ in gone:
                await self._devices.forget(address, token)
        except Busy:
            return Response(503, b"try again")
        return Response(204)


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name, [])
    if not isinstance(value, list) or len(value) > 1000:
        raise Malformed(f"{name}: a list of at most 1,000 expected")
    return value


def _device(value: Any) -> tuple[Address, str, str]:
    if not isinstance(value, Mapping):
        raise Malformed("device: an object expected")
    address = Address.parse(as_text(value.get("address")))
    if address.scheme not in PEOPLE:
        raise Malformed("address: gridapp: or customer: expected")
    token = as_text(value.get("token"))
    if not token:
        raise Malformed("token: missing")
    return address, token, as_text(value.get("platform"))[:20]
