"""Rollout: a changed rule file comes into force only when those who must agree have agreed to exactly that text; kept, so that an
earlier one can come back.

What was in force lies in the Store with its text, one line for the whole deployment, so every process comes to the same answer
by itself: at its start, at an edit of its folder, and when somebody approves, breaks the glass or rolls back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgcenter.clock import Clock
from msgcenter.config import HOT_FILES, Config
from msgcenter.config.snapshot import CITIES
from msgcenter.metrics import Metrics
from msgcenter.policy.approvals import Approval, ApprovalRule, Missing, missing
from msgcenter.store import ConfigOrder, ConfigVersion, StoreError
from msgcenter.store.store import Store

#: Builds a configuration of the process with these hot files. Raises ConfigErrors.
Rebuild = Callable[[Mapping[str, bytes]], Config]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rollout stands in this process. `version`: in force (None = nothing kept yet). `folder`: hash of what the folder
    says. `changed`: its files that differ from what is in force -> sha256. `lacking`: approvals that are missing. `why`: in words,
    why the folder's text is not in force; "" = it is."""

    version: ConfigVersion | None = None
    folder: str = ""
    changed: Mapping[str, str] | None = None
    lacking: tuple[Missing, ...] = ()
    why: str = ""


class NoSuchVersion(Exception):
    """A version that the history does not hold; the text says which it holds."""


class Rollout:
    """The gate of one process's `Live`."""

    def __init__(
        self, store: Store, rebuild: Rebuild, *, clock: Clock, metrics: Metrics, log: Any
    ) -> None:
        self._store = store
        self._rebuild = rebuild
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._mark: tuple[int, int, int] | None = None
        self._wake_at = 0
        self.standing = Standing()

    async def begin(self, folder: Config) -> Config:
        """What a process starts with: the folder's text, or what is in force while that waits. Raises StoreError, ConfigErrors."""
        return (await self.admit(folder, folder))[0]

    async def moved(self) -> bool:
        """Whether somebody approved, ordered or applied something, or a break-glass ended. Never raises."""
        if self._wake_at and self._clock.now_ms() >= self._wake_at:
            return True
        try:
            return await self._store.config_mark() != self._mark
        except StoreError as error:
            self._log.info("rollout_waits", error=error)
            return False

    async def admit(self, old: Config, new: Config) -> tuple[Config, str]:
        """As `msgcenter.live.Gate` says. Raises StoreError, ConfigErrors (an old text that this release cannot read)."""
        mark = await self._store.config_mark()
        taken = await self._admit(old, new)
        # Read before: what came meanwhile is looked at again. Our own entry is no news.
        newest = self.standing.version
        self._mark = (newest.number if newest else mark[0], *mark[1:])
        glass = newest if newest is not None and newest.how == "break_glass" else None
        over = glass is None or glass.until <= self._clock.now_ms()
        self._wake_at = 0 if glass is None or over else glass.until
        self._metrics.config_waiting_approval.set(len(self.standing.lacking))
        self._metrics.config_break_glass.set(glass is not None)
        if self.standing.why:
            self._log.warning("config waits", why=self.standing.why, folder=new.rules_hash[:12])
        return taken, self.standing.why

    async def _admit(self, old: Config, new: Config) -> Config:
        files = digests(new)
        order = await self._store.config_ordered(new.rules_hash)
        newest = await self._store.newest_config()
        if order is not None and order.kind == "rollback":
            return await self._rolled_back(old, new, order)
        now = self._clock.now_ms()
        if newest is not None and newest.how == "break_glass" and now >= newest.until:
            newest = await self._glass_over(newest)
        if newest is None:
            return await self._take(new, ConfigVersion(new.rules_hash, now, "edit", files))
        if newest.hash == new.rules_hash:
            if newest.how == "break_glass":
                return await self._under_glass(newest, old, new)
            self.standing = Standing(newest, new.rules_hash)
            return new
        # What nobody has agreed to is no ground to stand on: it could lift the approvals themselves.
        agreed = newest if newest.how != "break_glass" else await self._before(newest) or newest
        changed = differing_files(agreed.files, files)
        rules = (await self._config_of(agreed, old, new)).rules.approvals
        lacking = await self._lacking(rules, changed)
        if not lacking:
            asked = missing(rules, changed, ())
            how = ConfigVersion(new.rules_hash, now, "approved" if asked else "edit", files)
            return await self._take(new, how)
        if order is not None and now < order.until:
            glass = ConfigVersion(
                new.rules_hash, now, "break_glass", files, order.who, order.reason, order.until
            )
            await self._take(new, glass)
            # In force, and still to be approved: `approve` speaks of this very text.
            self.standing = replace(self.standing, changed=changed, lacking=lacking)
            return new
        self.standing = Standing(newest, new.rules_hash, changed, lacking, _words(lacking))
        return await self._config_of(newest, old, new)

    async def _under_glass(self, glass: ConfigVersion, old: Config, new: Config) -> Config:
        """The folder's text is in force by break-glass: its approvals may be given meanwhile, and end that."""
        before = await self._before(glass)
        if before is None:
            self.standing = Standing(glass, new.rules_hash)
            return new
        changed = differing_files(before.files, glass.files)
        rules = (await self._config_of(before, old, new)).rules.approvals
        if lacking := await self._lacking(rules, changed):
            self.standing = Standing(glass, new.rules_hash, changed, lacking)
            return new
        now = self._clock.now_ms()
        return await self._take(
            new, ConfigVersion(glass.hash, now, "approved", glass.files, glass.who)
        )

    async def _take(self, new: Config, version: ConfigVersion) -> Config:
        kept = await self._store.add_config_version(version, new.texts)
        self.standing = Standing(kept, new.rules_hash)
        return new

    async def _rolled_back(self, old: Config, new: Config, order: ConfigOrder) -> Config:
        target = await self.version(order.version)
        texts = await self._store.config_texts(target)
        back = replace(target, at=order.at, how="rollback", who=order.who, reason=order.reason)
        newest = await self._store.newest_config()
        if newest is None or newest.hash != target.hash or newest.at < order.at:
            newest = await self._store.add_config_version(replace(back, until=0), texts)
        why = f"rolled back to version {order.version} by {order.who}"
        why += f" ({order.reason})" if order.reason else ""
        why += "; the folder's text is taken again once it changes"
        self.standing = Standing(newest, new.rules_hash, None, (), why)
        return await self._config_of(target, old, new)

    async def _glass_over(self, glass: ConfigVersion) -> ConfigVersion:
        """A break-glass text whose time is over: approved meanwhile it stays, else the one before it comes back."""
        now = self._clock.now_ms()
        before = await self._before(glass)
        if before is None:
            return glass
        texts = await self._store.config_texts(before)
        rules = self._rebuild(texts).rules.approvals
        if await self._lacking(rules, differing_files(before.files, glass.files)):
            self._log.error("break-glass is over, unapproved", back_to=before.number)
            reason = f"break-glass of {glass.who} ended unapproved"
            version = ConfigVersion(before.hash, now, "expired", before.files, "clock", reason)
        else:
            texts = await self._store.config_texts(glass)
            version = ConfigVersion(glass.hash, now, "approved", glass.files, glass.who)
        return await self._store.add_config_version(version, texts)

    async def _before(self, glass: ConfigVersion) -> ConfigVersion | None:
        for version in await self._store.config_versions(before=glass.number):
            if version.how != "break_glass":
                return version
        return None

    async def _config_of(self, version: ConfigVersion, old: Config, new: Config) -> Config:
        for known in (old, new):
            if known.rules_hash == version.hash:
                return known
        return self._rebuild(await self._store.config_texts(version))

    async def _lacking(
        self, rules: Sequence[ApprovalRule], changed: Mapping[str, str]
    ) -> tuple[Missing, ...]:
        if not rules:
            return ()
        given = await self._store.config_approvals(list(changed.values()))
        return missing(rules, changed, given)

    # -- what people order --------------------------------------------------------------------------

    async def approve(
        self, roles: Sequence[str], who: str, *, reject: bool = False
    ) -> list[Approval]:
        """A person's word, in these roles, on every changed file that needs one of them, as it lies in the folder now; what was
        written down. Raises StoreError."""
        standing, now = self.standing, self._clock.now_ms()
        changed = standing.changed or {}
        state = "rejected" if reject else "approved"
        given = [
            Approval(one.file, changed[one.file], one.role, who, now, state)  # type: ignore[arg-type]
            for one in {(m.file, m.role): m for m in standing.lacking}.values()
            if one.role in roles
        ]
        await self._store.approve_config(given)
        for one in given:
            detail = {"role": one.role, "sha256": one.sha256}
            await self._store.audit(who, f"config.{state}", one.file, detail, now)
        return given

    async def break_glass(self, who: str, reason: str, lasts_s: float) -> ConfigOrder:
        """Take the folder's text without approval for a while. Raises StoreError."""
        now = self._clock.now_ms()
        until = now + round(lasts_s * 1000)
        order = ConfigOrder(self.standing.folder, "break_glass", who, reason, now, until=until)
        await self._store.order_config(order)
        detail = {"reason": reason, "until": until}
        await self._store.audit(who, "config.break_glass", order.hash, detail, now)
        return order

    async def roll_back(self, who: str, reason: str, number: int = 0) -> ConfigVersion:
        """Put an earlier version in force, 0 = the last other text before the one in force. Raises NoSuchVersion, StoreError."""
        target = await (self.version(number) if number else self._last_other())
        now = self._clock.now_ms()
        order = ConfigOrder(
            self.standing.folder, "rollback", who, reason, now, version=target.number
        )
        await self._store.order_config(order)
        detail = {"version": target.number, "reason": reason}
        await self._store.audit(who, "config.rollback", order.hash, detail, now)
        return target

    async def version(self, number: int) -> ConfigVersion:
        """Raises NoSuchVersion, StoreError."""
        for version in await self._store.config_versions(1, number + 1):
            if version.number == number:
                return version
        known = [str(version.number) for version in await self._store.config_versions(10)]
        raise NoSuchVersion(f"there is no version {number}; the newest are {', '.join(known)}")

    async def _last_other(self) -> ConfigVersion:
        versions = await self._store.config_versions()
        for version in versions:
            if version.hash != versions[0].hash:
                return version
        raise NoSuchVersion("there is no other version to go back to")


def digests(config: Config) -> dict[str, str]:
    """Hot file -> sha256 of its text, "" = absent."""
    return {
        file.name: file.sha256
        for file in config.files
        if file.name in HOT_FILES or file.name.startswith(f"{CITIES}/")
    }


def differing_files(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """File -> its new sha256 ("" = taken away), of those that are not the same."""
    return {
        name: new.get(name, "")
        for name in sorted({*old, *new})
        if old.get(name, "") != new.get(name, "")
    }


def _words(lacking: Sequence[Missing]) -> str:
    told = [
        f"{one.file} rejected as {one.role} by {one.rejected_by}"
        if one.rejected_by
        else f"{one.file} needs the approval of {one.role}"
        for one in lacking
    ]
    return "; ".join(dict.fromkeys(told))
