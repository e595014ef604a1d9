"""Access tokens: one per app, given out, renewed, expired and revoked on command; who may call at all is decided here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import ABILITIES, App, World


@dataclass(slots=True)
class _Token:
    value: str
    app: App
    expires_ms: int


class Tokens:
    """`asked` counts the gettoken calls per agentid, `issued` the tokens made. All other public methods with keyword
    arguments only are orders of the control surface.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_value: dict[str, _Token] = {}
        self._current: dict[int, _Token] = {}
        self._blocked: dict[str, int] = {}
        self._wrong: Counter[str] = Counter()
        self.asked: Counter[int] = Counter()
        self.issued: Counter[int] = Counter()
        self.trusted: set[str] | None = None  #: 企业可信IP; None lets everybody in

    def gettoken(self, query: Mapping[str, str], address: str) -> dict[str, Any]:
        """Doc 91039. Raises Refused."""
        world, limits = self._world, self._world.limits
        if self._blocked.get(address, 0) > world.clock.now_ms():
            raise Refused(45009)
        if not query.get("corpid"):
            raise Refused(41002)
        if not query.get("corpsecret"):
            raise Refused(41004)
        if query["corpid"] != world.corp:
            raise Refused(40013)
        secret = query["corpsecret"]
        app = next((one for one in world.apps.values() if one.secret == secret), None)
        if app is None or not app.enabled:
            self._wrong[address] += 1
            if limits.bad_secrets and self._wrong[address] >= limits.bad_secrets:
                self._blocked[address] = world.clock.now_ms() + 3_600_000
                self._wrong[address] = 0
            raise Refused(40001)
        self.check_address(address)
        self.asked[app.agentid] += 1
        full = world.windows.take(f"gettoken:{secret}", {"minute": limits.gettoken_minute})
        if full:
            raise Refused(45009)
        self._wrong[address] = 0
        token = self._current.get(app.agentid)
        now = world.clock.now_ms()
        if token is None or token.expires_ms - now <= limits.token_renew * 1000:
            token = self._issue(app)
        return {"access_token": token.value, "expires_in": (token.expires_ms - now) // 1000}

    def check(self, value: str) -> App:
        """The app a token belongs to. Raises Refused: 41001, 40014, 42001, 50003."""
        if not value:
            raise Refused(41001)
        token = self._by_value.get(value)
        if token is None:
            raise Refused(40014)
        if self._world.clock.now_ms() >= token.expires_ms:
            raise Refused(42001)
        if not token.app.enabled:
            raise Refused(50003)
        return token.app

    def check_address(self, address: str) -> None:
        """Raises Refused (60020)."""
        if self.trusted is not None and address not in self.trusted:
            raise Refused(60020)

    def _issue(self, app: App) -> _Token:
        world = self._world
        life = world.limits.token_life * 1000
        token = _Token(world.new_id("", 120), app, world.clock.now_ms() + life)
        now = world.clock.now_ms()
        self._by_value = {
            value: held
            for value, held in self._by_value.items()
            if held.expires_ms + 86_400_000 > now
        }
        self._by_value[token.value] = self._current[app.agentid] = token
        self.issued[app.agentid] += 1
        return token

    # --- orders ---

    def token_expire(self, *, agentid: int = 0) -> dict[str, Any]:
        """Tokens of one app (or of all) have run out: 42001 from now on."""
        return {"expired": len(self._end(agentid, forget=False))}

    def token_rotate(self, *, agentid: int = 0) -> dict[str, Any]:
        """Tokens are no longer known (40014); the next gettoken makes a new one."""
        return {"revoked": len(self._end(agentid, forget=True))}

    def trusted_ips(self, *, ips: list[str] | None = None) -> dict[str, Any]:
        """Only these source addresses may call, the others get 60020; None ends it."""
        self.trusted = None if ips is None else set(ips)
        return {"ips": ips}

    def app_add(
        self,
        *,
        agentid: int,
        secret: str,
        abilities: list[str] | None = None,
        scope: list[str] | None = None,
    ) -> dict[str, Any]:
        """One more app of the corp. Raises ValueError for an unknown ability."""
        chosen = set(ABILITIES if abilities is None else abilities)
        if not chosen <= ABILITIES:
            raise ValueError(f"abilities are {', '.join(sorted(ABILITIES))}")
        scoped = None if scope is None else set(scope)
        self._world.apps[agentid] = App(agentid, secret, chosen, True, scoped)
        return {"agentid": agentid}

    def app_change(
        self,
        *,
        agentid: int,
        enabled: bool | None = None,
        secret: str | None = None,
        scope: list[str] | None = None,
        root: bool = False,
        abilities: list[str] | None = None,
    ) -> dict[str, Any]:
        """Disable or enable an app (50003), change its secret, its visible range (`root`: all) or its abilities."""
        app = self._world.apps.get(agentid)
        if app is None:
            raise ValueError(f"no app {agentid}")
        if enabled is not None:
            app.enabled = enabled
        if secret is not None:
            app.secret = secret
        if scope is not None or root:
            app.scope = None if root or scope is None else set(scope)
        if abilities is not None:
            app.abilities = set(abilities)
        return {"agentid": agentid, "enabled": app.enabled}

    def token_stats(self) -> dict[str, Any]:
        """Calls of gettoken and tokens made, per agentid."""
        return {
            "asked": {str(agent): count for agent, count in self.asked.items()},
            "issued": {str(agent): count for agent, count in self.issued.items()},
        }

    def _end(self, agentid: int, forget: bool) -> list[_Token]:
        now = self._world.clock.now_ms()
        ended = [
            token
            for token in self._by_value.values()
            if token.expires_ms > now and agentid in (0, token.app.agentid)
        ]
        for token in ended:
            if forget:
                del self._by_value[token.value]
            token.expires_ms = min(token.expires_ms, now)
            if self._current.get(token.app.agentid) is token:
                del self._current[token.app.agentid]
        return ended
