"""The model of `msgcenter.yaml`: what one process is made of; read at start, so a change needs a
restart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from msgcenter.config.values import Duration, Secret, SecretUrl, Size, Strict, fault

Role = Literal["api", "submit", "channel", "inbound", "archive", "schedule"]
ROLES: tuple[Role, ...] = get_args(Role)

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_EXAMPLES = {
    "rabbit": "amqp://msgcenter:${env:RABBIT_PASSWORD}@host:5672/msgcenter",
    "redis": "redis://:${env:REDIS_PASSWORD}@host:6379/0",
    "postgres": "postgresql://msgcenter:${env:PG_PASSWORD}@host:5432/msgcenter",
}
_SCHEMES = {
    "rabbit": {"amqp", "amqps"},
    "redis": {"redis", "rediss", "unix"},
    "postgres": {"postgresql", "postgresql+asyncpg"},
}

#: Bus, State and Store that several processes can share.
_SHARED = ("rabbit", "redis", "postgres")


class _Server(Strict):
    """A part that lives in a file under `data`, or on a server at `url`."""

    kind: str
    url: SecretUrl | None = Field(
        default=None, description="where the server is; not used with sqlite or memory"
    )

    @model_validator(mode="after")
    def _url_fits(self) -> _Server:
        schemes = _SCHEMES.get(self.kind)
        if schemes is None:
            if self.url is not None:
                raise fault(
                    f"kind {self.kind} takes no url", "remove `url`: its file lies in `data`"
                )
            return self
        example = _EXAMPLES[self.kind]
        if self.url is None:
            raise fault(f"kind {self.kind} needs a url", f"add `url: {example}`")
        url = urlsplit(self.url.reveal())
        if url.scheme not in schemes:
            raise fault(
                f"the url must begin with {' or '.join(sorted(schemes))}", f"write `url: {example}`"
            )
        if url.username == "guest" and url.password == "guest" and url.hostname not in _LOOPBACK:  # noqa: S105
            raise fault("guest/guest is a sample login", "create a user of its own for msgcenter")
        return self


class Prefetch(Strict):
    """Frames (of up to 100 messages) that a consumer leases ahead, by lane."""

    conv: int = Field(default=8, ge=1, le=1000)
    """Of the lane of conversations."""
    urgent: int = Field(default=16, ge=1, le=1000)
    """Of P0 and P1."""
    normal: int = Field(default=8, ge=1, le=1000)
    """Of P2 and P3."""
    bulk: int = Field(
        default=2, ge=1, le=2, description="at most 2, so that bulk never fills the sending window"
    )


class BusConfig(_Server):
    """What carries messages between the parts."""

    kind: Literal["sqlite", "rabbit"] = "sqlite"
    """sqlite: a file under `data`, one process; rabbit: RabbitMQ, any number."""
    prefix: str = Field(
        default="mc", pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="begins every queue name"
    )
    partitions: int = Field(
        default=4,
        ge=1,
        le=64,
        description="ordered partitions of each topic; changing it needs a drain",
    )
    publish_in_flight: int = Field(
        default=1000, ge=1, le=100_000, description="unconfirmed publishes before callers wait"
    )
    publish_timeout: Duration = 10.0
    """Without the server's confirmation for so long, a publish has failed."""
    prefetch: Prefetch = Prefetch()
    """Frames leased ahead, by lane."""


class StateConfig(_Server):
    """The fast shared memory: claims, caps, suppressions, status."""

    kind: Literal["sqlite", "redis", "memory"] = "sqlite"
    """sqlite: a file under `data`, one process; redis: any number; memory: for tests, forgets all."""
    cluster: bool = Field(default=False, description="the url is one node of a Redis Cluster")
    prefix: str = Field(
        default="mc", pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="begins every key"
    )

    @model_validator(mode="after")
    def _cluster_is_redis(self) -> StateConfig:
        if self.cluster and self.kind != "redis":
            raise fault("cluster needs kind redis", "remove `cluster` or set `kind: redis`")
        return self


class StoreConfig(_Server):
    """The database: due rows, history, customers, keys."""

    kind: Literal["sqlite", "postgres"] = "sqlite"
    """sqlite: a file under `data`, one process; postgres: any number."""


class ApiConfig(Strict):
    """The HTTP API, in processes with role api."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 for all"
    )
    port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free one")
    max_body: Size = Field(default=4 << 20, description="largest request body")
    pepper: Secret | None = Field(
        default=None,
        description="keys the hashes of API keys, 16 octets or more, the same in every process, so needed with rabbit, redis "
        "and postgres; none: a file of the data folder, made at the first start",
    )
    public_url: str | None = Field(
        default=None,
        max_length=100,
        description="how customers reach this API from outside: https://m.example.cn; short links and preference pages begin "
        "with it, and only /s/ and /p/ need be let through to it; none: there are none",
    )
    env: str = Field(
        default="live", pattern=r"^[a-z0-9]{1,12}$", description="part of every new API key"
    )
    bundle: int = Field(
        default=100, ge=1, le=100, description="most messages in one frame of natural bundling"
    )

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        plain = not (url.query or url.fragment or url.username)
        if url.scheme not in ("http", "https") or not url.hostname or not plain:
            raise fault("must be an http or https URL", "write it like https://m.example.cn")
        return value.rstrip("/")

    @field_validator("pepper")
    @classmethod
    def _pepper_length(cls, value: Secret | None) -> Secret | None:
        if value is not None and len(value.reveal().encode()) < 16:
            raise fault("is shorter than 16 characters", "`openssl rand -hex 32` makes a good one")
        return value

    @field_validator("max_body")
    @classmethod
    def _body_bounds(cls, value: int) -> int:
        if not 1 << 10 <= value <= 64 << 20:
            raise fault("must be between 1KB and 64MB", "4MB holds a batch of 1,000 messages")
        return value


class HealthConfig(Strict):
    """A listener for probes and Prometheus in every process, whatever its roles: /livez, /readyz, /metrics, /version."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 for all"
    )
    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="0 takes a free one; none: only role api answers, on its own port",
    )


class ReloadConfig(Strict):
    """How edits of the folder are noticed."""

    poll: Duration = Field(
        default=1.0,
        description="how often the folder is looked at; a change is taken once it rests",
    )

    @field_validator("poll")
    @classmethod
    def _poll_bounds(cls, value: float) -> float:
        if not 0.1 <= value <= 60:
            raise fault("must be between 100ms and 60s", "1s notices an edit within two seconds")
        return value


class LogConfig(Strict):
    """Lines on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else JSON lines"
    )


class FileArchive(Strict):
    """Records as framed JSON lines, fsynced before they count as written."""

    enabled: bool = True
    """Whether they are written."""
    path: Path = Field(default=Path("archive"), description="folder; a relative one lies in `data`")
    segment: Size = Field(default=64 << 20, description="a file is closed at this size")


class StoreArchive(Strict):
    """Records as rows of the message store, which the API reads."""

    enabled: bool = True
    """Whether it is kept; without it the API knows no history."""


class EventArchive(Strict):
    """The event log, which callers read by `GET /v1/events` and subscriptions are fed from."""

    keep: Duration = Field(
        default=30 * 86400.0,
        description="how long an event can be read; who stands longer behind is told how many it missed",
    )

    @field_validator("keep")
    @classmethod
    def _keep_bounds(cls, value: float) -> float:
        if not 86400 <= value <= 3660 * 86400:
            raise fault("must be between 1d and 3660d", "30d lets a reader be away for a month")
        return value


class ArchiveConfig(Strict):
    """Where records go."""

    file: FileArchive = FileArchive()
    """Archive files, one JSON line a record."""
    store: StoreArchive = StoreArchive()
    """The message store, which the API's history reads."""
    events: EventArchive = EventArchive()
    """The event log."""


class MediaConfig(Strict):
    """Files that messages carry."""

    path: Path = Field(
        default=Path("media"),
        description="folder, shared by all processes; a relative one lies in `data`",
    )
    most_kept: Size = Field(
        default=512 << 20, description="largest file that is kept of what comes in"
    )


class HooksConfig(Strict):
    """Calls that far ends make to us (role api), kept in a local spool while the bus is away."""

    spool: Size = Field(
        default=256 << 20,
        description="size of the spool; when it is full far ends are told to retry",
    )
    confirm: Duration = Field(
        default=0.4, description="how long the bus may take to confirm before the spool takes over"
    )

    @field_validator("confirm")
    @classmethod
    def _confirm_bounds(cls, value: float) -> float:
        if not 0.01 <= value <= 0.8:
            raise fault("must be between 10ms and 800ms", "far ends want an answer within a second")
        return value

    @field_validator("spool")
    @classmethod
    def _spool_bounds(cls, value: int) -> int:
        if value < 1 << 20:
            raise fault("must be at least 1MB", "256MB holds about 300,000 events")
        return value


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class ProcessConfig(Strict):
    """`msgcenter.yaml`. Without any file: SQLite everywhere, every role in one process, API on
    127.0.0.1:8080."""

    data: Path = Field(default=Path("data"), description="folder of everything this process writes")
    bus: BusConfig = BusConfig()
    state: StateConfig = StateConfig()
    store: StoreConfig = StoreConfig()
    api: ApiConfig = ApiConfig()
    health: HealthConfig = HealthConfig()
    roles: Annotated[tuple[Role, ...], BeforeValidator(_comma_list)] = Field(
        default=ROLES,
        min_length=1,
        description="what this process does; several processes share the roles out",
    )
    reload: ReloadConfig = ReloadConfig()
    log: LogConfig = LogConfig()
    drain: Duration = Field(
        default=20.0, description="how long work in hand may finish after SIGTERM"
    )
    archive: ArchiveConfig = ArchiveConfig()
    media: MediaConfig = MediaConfig()
    hooks: HooksConfig = HooksConfig()

    @field_validator("roles")
    @classmethod
    def _roles_once(cls, value: tuple[Role, ...]) -> tuple[Role, ...]:
        if len(set(value)) != len(value):
            raise fault("a role is listed twice", "list each role once")
        return value

    @model_validator(mode="after")
    def _parts_can_be_shared(self) -> ProcessConfig:
        missing = [role for role in ROLES if role not in self.roles]
        alone = [
            f"{part}.kind {kind}"
            for part, kind in (
                ("bus", self.bus.kind),
                ("state", self.state.kind),
                ("store", self.store.kind),
            )
            if kind not in _SHARED
        ]
        if missing and alone:
            raise fault(
                f"roles {', '.join(missing)} are left to another process, "
                f"but {', '.join(alone)} cannot be shared",
                "list all roles, or use rabbit, redis and postgres",
            )
        if self.bus.kind == "rabbit" and self.state.kind == "memory":
            raise fault(
                "bus.kind rabbit with state.kind memory would forget claims and caps at a restart",
                "set state.kind to redis (or sqlite for a single process)",
            )
        return self

    @model_validator(mode="after")
    def _one_pepper(self) -> ProcessConfig:
        """The pepper of a data folder is known to one process only: under it others would refuse its keys, links and signatures."""
        servers = (self.bus.kind, self.state.kind, self.store.kind) == _SHARED
        if self.api.pepper is None and servers:
            raise fault(
                "api.pepper is missing, but rabbit, redis and postgres are there for several processes: each would make a "
                "pepper of its own and refuse the API keys, signed links and subscriptions of the others",
                "add `api: {pepper: ${env:KEY_PEPPER}}`, the same in every process; `openssl rand -hex 32` makes a good one",
            )
        return self
