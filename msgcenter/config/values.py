"""The value types of a configuration: durations, sizes, names, and secrets that can only be
referred to.

An adapter's settings model may use all of them:

    class Settings(Strict):
        host: str
        secret: Secret                 # in the file: ${env:SMS_SECRET} or ${file:/run/secrets/sms}
        active_test: Duration = 30.0   # in the file: 30s, 5m, 1h30m, or a number of seconds

Long because each type brings its own reading, showing and JSON Schema.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

REDACTED = "•••"
MAX_SECRET_BYTES = 64 << 10
MAX_TEXT_BYTES = 1 << 20

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]+)\s*([KMG]i?)?B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 10, "M": 20, "G": 30}
_REFERENCE = re.compile(r"\$\{(env|file):([^}]*)\}")


class Strict(BaseModel):
    """The base of every configuration model: immutable, no unknown keys, no input echoed in
    errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


def fault(message: str, remedy: str) -> PydanticCustomError:
    """What a validator raises to give its own words: what is wrong, and what to do."""
    return PydanticCustomError("config", "{message}", {"message": message, "remedy": remedy})


def parse_duration(value: object) -> object:
    """`30s`, `1h30m`, `250ms`, `7d` or a number of seconds -> seconds (float)."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise fault("must be a duration", "write it like 30s, 5m, 2h or 7d")
    if isinstance(value, str):
        text = value.strip()
        if not _DURATION.fullmatch(text):
            raise fault("must be a duration", "write it like 30s, 5m, 2h or 7d")
        value = sum(float(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text))
    if not 0 <= value <= 100 * 366 * 86400:
        raise fault("must be between 0 and 100 years", "write it like 30s, 5m, 2h or 7d")
    return float(value)


def format_duration(seconds: float) -> str:
    """The shortest exact spelling: 90.0 -> `90s`, 7200.0 -> `2h`, 0.25 -> `250ms`."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def parse_size(value: object) -> object:
    """`64KB`, `1MB`, `10MiB` or a number of bytes -> bytes (int); K, M and G are powers of 1024 in
    every spelling."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(match[1]) << _POWERS[(match[2] or "")[:1].upper()]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise fault("must be a size", "write it like 64KB, 1MB or a number of bytes")


def format_size(size: int) -> str:
    """The shortest exact spelling: 65536 -> `64KB`."""
    for unit in ("G", "M", "K"):
        if size and size % (1 << _POWERS[unit]) == 0:
            return f"{size >> _POWERS[unit]}{unit}B"
    return str(size)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": f"^{_DURATION.pattern}$"},
            ],
            "description": "a duration: 30s, 5m, 2h, 7d, 1h30m, 250ms, or a number of seconds",
        }
    ),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^[0-9]+\\s*([KMG]i?)?B?$"},
            ],
            "description": "a size: 64KB, 1MB, or a number of bytes; K is 1024",
        }
    ),
]
#: The name of a channel, caller, account or category: it becomes a queue name, a metric label and
#: part of a URL.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class FromEnv(str):
    """Text that was given in an environment variable, where a secret may stand plainly."""

    __slots__ = ("variable",)
    variable: str

    def __new__(cls, value: str, variable: str) -> FromEnv:
        self = super().__new__(cls, value)
        self.variable = variable
        return self


class SecretReader:
    """Resolves `${env:NAME}` and `${file:/path}`; `files` collects the paths it was asked for, so
    they can be watched.

    A relative path is taken from `directory`. A file that others than its owner can read is
    refused.
    """

    def __init__(self, env: Mapping[str, str], directory: Path | None = None) -> None:
        self._env = env
        self._directory = directory or Path()
        self.files: dict[Path, None] = {}

    def __call__(self, kind: str, name: str) -> str:
        if kind == "env":
            value = self._env.get(name, "")
            if not value:
                raise fault(
                    f"the environment has no variable {name}",
                    f"set {name}, or refer to a file: ${{file:/path}}",
                )
            return value
        return self.read(self._directory / name)

    def read(self, path: Path) -> str:
        """The text of a secret file, without its last line end."""
        self.files[path] = None
        try:
            info = path.stat()
            if not stat.S_ISREG(info.st_mode):
                raise fault(f"{path} is not a file", "name a file that holds the secret alone")
            if info.st_mode & 0o077:
                raise fault(
                    f"{path} can be read by other users (mode {stat.S_IMODE(info.st_mode):04o})",
                    f"chmod 600 {path} (Kubernetes: defaultMode: 0400)",
                )
            data = path.read_bytes() if info.st_size <= MAX_SECRET_BYTES else b""
            value = data.decode().removesuffix("\n").removesuffix("\r")
        except OSError as e:
            raise fault(
                f"cannot read {path}: {e.strerror}",
                "create it, owned by the user of the process, mode 600",
            ) from e
        except UnicodeDecodeError as e:
            raise fault(f"{path} is not UTF-8 text", "store the secret as text") from e
        if not value:
            raise fault(f"{path} is empty or over 64 KB", "put the secret alone in it")
        return value

    def read_text(self, name: str) -> str:
        """The text of a file beside the configuration that holds no secret; it is watched like one."""
        path = self._directory / name
        self.files[path] = None
        try:
            if path.stat().st_size > MAX_TEXT_BYTES:
                raise fault(f"{path} is over 1 MB", "name a smaller file")
            return path.read_text("utf-8")
        except OSError as e:
            raise fault(f"cannot read {path}: {e.strerror}", "name a file that is there") from e
        except UnicodeDecodeError as e:
            raise fault(f"{path} is not UTF-8 text", "store it as UTF-8") from e


class Secret:
    """A secret and the reference it was read from. Only `reveal()` gives the value; printing gives
    `•••`.

    In a file it must be a reference; a plain value is refused. Code and tests build one with
    `Secret("value")`.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str = "") -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        return self._value

    def shown(self, *, redact: bool = True) -> str:
        """What may be printed: `•••`, or the reference (never the value)."""
        return REDACTED if redact or not self.reference else self.reference

    def __repr__(self) -> str:
        return f"{type(self).__name__}({REDACTED})"

    def __str__(self) -> str:
        return REDACTED

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return cls(value.reveal(), value.reference)
        if not isinstance(value, str):
            raise fault("must be a reference to a secret", "write ${env:NAME} or ${file:/path}")
        if isinstance(value, FromEnv) and not _REFERENCE.search(value):
            return cls(str(value), f"${{env:{value.variable}}}")
        return cls._resolve(value, _reader(info))

    @classmethod
    def _resolve(cls, text: str, read: Callable[[str, str], str]) -> Secret:
        match = _REFERENCE.fullmatch(text.strip())
        if not match:
            raise fault(
                "a secret must not stand in the file",
                "put it in the environment or in a file of mode 600, "
                "and write ${env:NAME} or ${file:/path}",
            )
        return cls(read(match[1], match[2].strip()), match[0])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                _serialise, info_arg=True
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": r"^\$\{(env|file):[^}]+\}$",
            "description": "a reference to a secret: ${env:NAME} or ${file:/path}",
        }


class SecretUrl(Secret):
    """A URL that may hold a password, which must then be a reference:
    `amqp://mc:${env:PASSWORD}@host/vhost`, or the whole URL is one reference."""

    __slots__ = ()

    @classmethod
    def _resolve(cls, text: str, read: Callable[[str, str], str]) -> Secret:
        bare = _REFERENCE.sub("x", text)
        try:
            password = urlsplit(_REFERENCE.sub("", text)).password
            url = urlsplit(_REFERENCE.sub(lambda m: read(m[1], m[2].strip()), text))
            scheme, _ = url.scheme, url.port
        except ValueError as e:
            raise fault(
                "must be a URL", "write it like scheme://user:${env:PASSWORD}@host:port/name"
            ) from e
        if password:
            raise fault(
                "the password must not stand in the file",
                "write scheme://user:${env:PASSWORD}@host:port/name",
            )
        if not scheme or "://" not in (bare if bare != "x" else "://"):
            raise fault(
                "must be a URL", "write it like scheme://user:${env:PASSWORD}@host:port/name"
            )
        return cls(_REFERENCE.sub(lambda m: read(m[1], m[2].strip()), text), text)

    def shown(self, *, redact: bool = True) -> str:
        if not redact and self.reference:
            return self.reference
        if _REFERENCE.fullmatch(self.reference):
            return REDACTED
        if self.reference:
            return _REFERENCE.sub(REDACTED, self.reference)
        return REDACTED

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "description": "a URL; its password, or all of it, is a reference: "
            "${env:NAME} or ${file:/path}",
        }


def _serialise(value: Secret, info: core_schema.SerializationInfo) -> str:
    context = info.context
    return value.shown(redact=not (isinstance(context, dict) and context.get("references")))


class TextFile:
    """A text file that a setting names, relative to the configuration: `name`, and the `text` it held when the configuration
    was read. Editing it is editing the configuration. Code and tests build one with `TextFile(name, text)`."""

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def __repr__(self) -> str:
        return f"TextFile({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextFile) and (other.name, other.text) == (self.name, self.text)

    def __hash__(self) -> int:
        return hash((self.name, self.text))

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> TextFile:
        if isinstance(value, TextFile):
            return value
        if not isinstance(value, str) or not value:
            raise fault("must be the name of a file", "name one beside the configuration")
        return cls(value, _reader(info).read_text(value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda one: one.name),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "description": "a file beside the configuration"}


def _reader(info: ValidationInfo) -> SecretReader:
    context = info.context
    reader = context.get("secrets") if isinstance(context, dict) else None
    if not isinstance(reader, SecretReader):
        raise fault(
            "secrets can be read only while a configuration is loaded",
            'in code, pass Secret("value")',
        )
    return reader


def reference_in(value: object) -> bool:
    """Whether a plain value holds `${env:…}` or `${file:…}`, which only secret fields
    understand."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


def parse_moment(value: object) -> int:
    """RFC 3339 with an offset -> epoch milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise fault("must be a moment", "write it like 2026-03-05T22:30:00+08:00")
    return round(moment.timestamp() * 1000)


Moment = Annotated[
    int,
    BeforeValidator(parse_moment),
    PlainSerializer(lambda ms: ms, return_type=int),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
