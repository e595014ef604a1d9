"""Body: what every request model is: strict, frozen, without unknown fields."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


def wrong(code: str, **facts: object) -> PydanticCustomError:
    """A fault in our own words (texts.FIELD_CODES) from inside a validator."""
    return PydanticCustomError("problem", "{code}", {"code": code, **facts})


class Body(BaseModel):
    """A request body: no unknown fields, no conversions beyond JSON's own types.

    `__nested__` names the fields that hold further models; `strict.read_model` counts keys by it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=False, allow_inf_nan=False
    )
    __nested__: ClassVar[tuple[str, ...]] = ()
