"""The model of `links` in `policy.yaml`: where short links may lead, and how long they live."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from msgcenter.config.values import Duration, Strict, fault

HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]{2,}")
MOST_S = 366 * 86400.0


def _host(text: str) -> str:
    if not HOST.fullmatch(text):
        raise fault(
            "must be a host",
            "write it like 10086.cn, in small letters; hosts below it are meant too",
        )
    return text


Host = Annotated[str, AfterValidator(_host)]


class LinkTerms(Strict):
    """Short links (`content.links` of a message) need `api.public_url` in msgcenter.yaml."""

    allow: tuple[Host, ...] = Field(
        default=(), description="hosts they may lead to, with all below them; none: no short links"
    )
    expires_in: Duration = Field(default=30 * 86400.0, description="then they lead nowhere")

    @field_validator("expires_in")
    @classmethod
    def _bounded(cls, value: float) -> float:
        if not 60 <= value <= MOST_S:
            raise fault("must be from 1m to 366d", "write it like 30d")
        return value

    def allows(self, host: str) -> bool:
        parts = host.split(".")
        return any(".".join(parts[at:]) in self.allow for at in range(len(parts)))
