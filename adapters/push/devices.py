"""Which devices a person has: registered by the app's backend, kept durably, newest first, and forgotten when the engine says they are dead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from msgcenter.adapter import Malformed, Port
from protocols.address import Address

MOST = 20
WAIT_S = 0.5
"""How long a registration waits for another one of the same person; the app's backend then comes again."""


class Busy(Exception):
    """Another process is just now writing the same person's devices."""


@dataclass(frozen=True, slots=True)
class Device:
    token: str
    platform: str = ""
    at: int = 0
    """When it was last registered, epoch milliseconds."""


class Devices:
    """Kept as the channel's checkpoints: `device:<address>` -> its devices, `token:<hash>` -> whose it is."""

    def __init__(self, port: Port) -> None:
        self._port = port

    async def of(self, address: Address) -> list[Device]:
        """Newest first."""
        kept = await self._port.checkpoint(f"device:{address}")
        return [Device(**fields) for fields in json.loads(kept)] if kept else []

    async def owner(self, token: str) -> Address | None:
        kept = await self._port.checkpoint(_owned(token))
        return Address.parse(kept) if kept else None

    async def register(self, address: Address, token: str, platform: str, at: int) -> None:
        """A device belongs to one person: who had it before has it no more. Raises Malformed, Busy."""
        if not 1 <= len(token) <= 512 or not token.isprintable():
            raise Malformed("token: 1 to 512 printable characters expected")
        before = await self.owner(token)
        if before is not None and before != address:
            await self._change(before, token, None)
        await self._port.save_checkpoint(_owned(token), str(address))
        await self._change(address, token, Device(token, platform, at))

    async def forget(self, address: Address, token: str) -> None:
        """Raises Busy."""
        if await self.owner(token) == address:
            await self._port.save_checkpoint(_owned(token), "")
        await self._change(address, token, None)

    async def forget_dead(self, tokens: Sequence[str]) -> None:
        """Of whomever they are. A person being written just now keeps theirs until the engine says so again."""
        for token in tokens:
            owner = await self.owner(token)
            if owner is not None:
                try:
                    await self.forget(owner, token)
                except Busy:
                    self._port.log.info("dead_device_kept", owner=owner.scheme)

    async def _change(self, address: Address, token: str, new: Device | None) -> None:
        async with self._port.turn(f"device:{address}", wait_s=WAIT_S) as mine:
            if not mine:
                raise Busy
            before = await self.of(address)
            others = [device for device in before if device.token != token]
            after = ([new] if new else []) + others
            if after != before:
                kept = json.dumps([asdict(device) for device in after[:MOST]])
                await self._port.save_checkpoint(f"device:{address}", kept)


def _owned(token: str) -> str:
    return f"token:{hashlib.sha256(token.encode()).hexdigest()[:32]}"
