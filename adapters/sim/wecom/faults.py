"""Misbehaviour on order: per API endpoint, and on the way of the callbacks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from adapters.sim.wecom.world import World

FaultKind = Literal["errcode", "http", "timeout", "lost", "malformed", "errmsg", "delay"]
CallbackFault = Literal["duplicate", "reorder", "bad_signature", "delay", "drop"]


@dataclass(slots=True)
class Fault:
    """`times` left (-1: without end) and `share` of the calls concerned."""

    endpoint: str
    kind: FaultKind
    times: int = -1
    share: float = 1.0
    errcode: int = -1
    status: int = 502
    seconds: float = 0.0


@dataclass(slots=True)
class _Way:
    times: int
    share: float
    seconds: float


class Faults:
    """errcode: answered, nothing done · http: this status, nothing done · lost: connection cut, nothing done ·
    timeout: done, then no answer (held for `seconds`, then cut) · malformed: done, then a body that is no JSON ·
    errmsg: done, with an unusual errmsg · delay: done after `seconds`.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._faults: list[Fault] = []
        self._ways: dict[str, _Way] = {}
        self.met: list[tuple[str, str]] = []
        """Endpoint (or "callback") and kind of every fault that struck, the newest 10,000."""

    def take(self, endpoint: str) -> list[Fault]:
        """The faults that strike this call."""
        struck = []
        for fault in list(self._faults):
            if fault.endpoint not in (endpoint, "*") or not self._world.chance(fault.share):
                continue
            if fault.times > 0:
                fault.times -= 1
                if fault.times == 0:
                    self._faults.remove(fault)
            struck.append(fault)
            self._note(endpoint, fault.kind)
        return struck

    def callback(self, kind: CallbackFault) -> float | None:
        """Seconds when this fault strikes the callback at hand, else None."""
        way = self._ways.get(kind)
        if way is None or not self._world.chance(way.share):
            return None
        if way.times > 0:
            way.times -= 1
            if way.times == 0:
                del self._ways[kind]
        self._note("callback", kind)
        return way.seconds

    def _note(self, where: str, kind: str) -> None:
        self.met.append((where, kind))
        if len(self.met) > 20_000:
            del self.met[:10_000]

    # --- orders ---

    def fault(
        self,
        *,
        endpoint: str,
        kind: FaultKind = "errcode",
        times: int = 1,
        share: float = 1.0,
        errcode: int = -1,
        status: int = 502,
        seconds: float = 0.0,
    ) -> dict[str, Any]:
        """`endpoint` as in the URL behind /cgi-bin/, or * for all; `times` -1 until cleared."""
        if kind not in get_args(FaultKind):
            raise ValueError(f"kinds are {', '.join(get_args(FaultKind))}")
        if times == 0 or times < -1 or not 0 < share <= 1:
            raise ValueError("times: -1 or more than 0; share: more than 0, at most 1")
        fault = Fault(endpoint, kind, times, share, errcode, status, seconds)
        self._faults.append(fault)
        return asdict(fault)

    def faults_clear(self, *, endpoint: str = "") -> dict[str, Any]:
        """No more faults, at one endpoint or at all (callbacks included)."""
        before = len(self._faults)
        if endpoint:
            self._faults = [fault for fault in self._faults if fault.endpoint != endpoint]
        else:
            self._faults.clear()
            self._ways.clear()
        return {"cleared": before - len(self._faults)}

    def callback_fault(
        self, *, kind: CallbackFault, times: int = 1, share: float = 1.0, seconds: float = 0.0
    ) -> dict[str, Any]:
        """duplicate: sent twice · reorder: sent after the next one · bad_signature · delay: by `seconds` · drop: never
        sent. `times` -1 until cleared.
        """
        if kind not in get_args(CallbackFault):
            raise ValueError(f"kinds are {', '.join(get_args(CallbackFault))}")
        if times == 0 or times < -1 or not 0 < share <= 1:
            raise ValueError("times: -1 or more than 0; share: more than 0, at most 1")
        self._ways[kind] = _Way(times, share, seconds)
        return {"kind": kind, "times": times}
