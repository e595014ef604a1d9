"""`templates/NAME.yaml`: the versions of one template as ops write them, and what they are compiled to; all of it is compiled and
tried out with sample values when the configuration is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_serializer,
    field_validator,
    model_validator,
)

from msgcenter.config.values import Moment, Name, Strict, fault
from msgcenter.config.when import PlaceText, parse_place
from msgcenter.policy.when import SHANGHAI
from msgcenter.templates.book import ANY_KIND, SHAPES, Book, Variant, Version
from msgcenter.templates.engine import Source, Unfit, names_of
from msgcenter.templates.variables import (
    Variable,
    VariableType,
    expected,
    read_value,
    read_variables,
    sample,
)

_Number = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}$")]
_VariableName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
_FIELDS = ("text", "title", "description", "url", "button", "picture", "appid", "page")
_RESERVED = ("loop", "range", "true", "false", "none")

Note = Callable[[Sequence[str | int], str, str], None]
"""(path below the file, message, remedy)."""


class VariableConfig(Strict):
    """One thing that a request must say."""

    type: VariableType = "text"
    """What a value must be."""
    required: bool = True
    """Whether a message must bring it."""
    default: Any = Field(default=None, description="for one that is not given; then it is optional")
    max_length: int = Field(
        default=200, ge=1, le=2000, description="characters of a text, each one of a list"
    )
    values: tuple[str, ...] = Field(default=(), description="of a text: only these")
    example: Any = Field(default=None, description="what `templates render` shows it with")

    def compiled(self) -> Variable:
        required = self.required and self.default is None
        return Variable(
            self.type, required, self.default, self.max_length, self.values, self.example
        )

    @model_validator(mode="after")
    def _fits_itself(self) -> VariableConfig:
        if self.values and self.type != "text":
            raise fault("values belong to a text", "remove them, or write `type: text`")
        made = self.compiled()
        for name in ("default", "example"):
            value = getattr(self, name)
            if value is not None and read_value(made, value) is None:
                raise fault(f"{name} does not fit", f"it must be {expected(made)}")
        return self


class VariantConfig(Strict):
    """What is said on one channel kind; every field is a Jinja template."""

    type: Literal["text", "markdown", "link", "card", "miniprogram"] = "text"
    """The content that it makes."""
    text: str | None = None
    """The words, with {{ variables }}."""
    title: str | None = None
    """Title of a link, card or mini program."""
    description: str | None = None
    """Description of a link or card."""
    url: str | None = None
    """Where a link or card leads."""
    button: str | None = None
    """Words on the button of a card."""
    picture: str | None = Field(default=None, description="an https URL or a media id")
    appid: str | None = None
    """Of the mini program."""
    page: str | None = None
    """Of the mini program."""

    @property
    def given(self) -> dict[str, str]:
        return {name: text for name in _FIELDS if (text := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _whole(self) -> VariantConfig:
        payload, needed = SHAPES[self.type]
        missing = [name for name in needed if not self.given.get(name)]
        if missing:
            raise fault(f"a {self.type} needs {' and '.join(missing)}", f"add `{missing[0]}: …`")
        stray = [name for name in self.given if name not in payload.__dataclass_fields__]
        if stray:
            raise fault(f"a {self.type} has no {stray[0]}", "remove it, or choose another `type`")
        return self


class VersionConfig(Strict):
    """One version. A message that names none gets the newest that is valid when it is sent, nearest to its organisation."""

    valid_from: Moment | None = None
    """From then on; none: always."""
    valid_until: Moment | None = Field(default=None, description="not included; none: no end")
    organisations: tuple[PlaceText, ...] = Field(
        default=(), description="only there: 广东/广州, or one level like 网格:体育西网格"
    )
    variables: Mapping[_VariableName, VariableConfig] = Field(default_factory=dict, max_length=50)
    """Name -> what it must be."""
    content: Mapping[Name, VariantConfig] = Field(
        min_length=1, description="by channel kind; `default` for all others"
    )

    @field_validator("variables", "content", mode="after")
    @classmethod
    def _freeze(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return MappingProxyType(dict(value))

    @field_serializer("variables", "content", mode="wrap")
    def _thaw(self, value: Mapping[str, Any], dump: SerializerFunctionWrapHandler) -> Any:
        return dump(dict(value))

    @model_validator(mode="after")
    def _time(self) -> VersionConfig:
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise fault("ends before it begins", "set valid_until behind valid_from")
        for name in self.variables:
            if name in _RESERVED:
                raise fault(f"a variable may not be called `{name}`", "choose another name")
        return self


class TemplateConfig(Strict):
    """`templates/NAME.yaml`."""

    name_zh: str = Field(default="", max_length=80)
    """The name that people read."""
    versions: Mapping[_Number, VersionConfig] = Field(min_length=1)
    """By number; the newest that is valid for the recipient is said."""

    @field_validator("versions", mode="after")
    @classmethod
    def _freeze(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return MappingProxyType(dict(value))

    @field_serializer("versions", mode="wrap")
    def _thaw(self, value: Mapping[str, Any], dump: SerializerFunctionWrapHandler) -> Any:
        return dump(dict(value))


def book(templates: Mapping[str, TemplateConfig], note: Callable[[str], Note]) -> Book:
    """All of them, compiled; what cannot be used is noted and left out. `note`: template -> where its faults go."""
    made: dict[str, Mapping[int, Version]] = {}
    for name, template in templates.items():
        versions = {
            int(number): version
            for number, config in template.versions.items()
            if (version := _version(name, number, config, note(name))) is not None
        }
        made[name] = MappingProxyType(dict(sorted(versions.items())))
    return Book(MappingProxyType(made))


def _version(template: str, number: str, config: VersionConfig, note: Note) -> Version | None:
    at = ("versions", number)
    variables = {name: variable.compiled() for name, variable in config.variables.items()}
    variants: dict[str, Variant] = {}
    sound = True
    for kind, variant in config.content.items():
        sources: dict[str, Source] = {}
        for field, text in variant.given.items():
            try:
                sources[field] = Source.of(text)
            except Unfit as unfit:
                note((*at, "content", kind, field), str(unfit), "correct the template")
                sound = False
        variants[kind] = Variant(variant.type, MappingProxyType(sources))
        for name in names_of(sources):
            if name not in variables:
                note(
                    (*at, "content", kind),
                    f"uses `{name}`, which is not declared",
                    f"add `{name}: {{type: text}}` under variables, or correct the name",
                )
                sound = False
    if not sound:
        return None
    for kind, made in variants.items():
        for said, values in _tries(variables):
            try:
                made.render(values, SHANGHAI)
            except Unfit as unfit:
                where = (*at, "content", kind)
                note(where, f"cannot be rendered with {said}: {unfit}", "correct the template")
                return None
    return Version(
        template=template,
        number=int(number),
        variants=MappingProxyType(variants),
        variables=MappingProxyType(variables),
        valid_from=config.valid_from or 0,
        valid_until=config.valid_until or 0,
        places=tuple(parse_place(text) for text in config.organisations),
    )


def _tries(variables: Mapping[str, Variable]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sample values: all variables, then only those that must be given."""
    whole = {name: sample(variable) for name, variable in variables.items()}
    yield "all variables", read_variables(variables, whole)[0]
    least = {name: value for name, value in whole.items() if variables[name].required}
    if len(least) < len(whole):
        yield "the required variables alone", read_variables(variables, least)[0]


def crosschecked(
    templates: Mapping[str, TemplateConfig],
    kinds: Sequence[str],
    note: Callable[[str], Note],
    meant: Callable[[str, Sequence[str]], str],
) -> None:
    """Notes a variant for a channel kind that no installed adapter has. `meant`: what was probably meant."""
    for name, template in templates.items():
        for number, version in template.versions.items():
            for kind in version.content:
                if kind != ANY_KIND and kind not in kinds:
                    where = ("versions", number, "content", kind)
                    known = [ANY_KIND, *kinds]
                    note(name)(where, f"there is no channel kind `{kind}`", meant(kind, known))


assert set(get_args(VariantConfig.model_fields["type"].annotation)) == set(SHAPES)
