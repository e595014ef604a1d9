"""The engine: Jinja2 cut down to a language in which every text ends, soon and short: a sandbox, and of its syntax only what is
listed here.

Time and memory are bounded by construction, not by a clock, so that a template behaves the same on every machine: no assignment,
no macro, no call but `range`, loops of at most 100 rounds that do not nest, a source of at most 5,000 characters, variables of a
bounded size, and an output that is cut off as it grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta, nodes
from jinja2 import Template as Compiled
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SOURCE = 5_000
MAX_OUTPUT = 20_000
MAX_ROUNDS = 100

_FILTERS = (
    *("abs", "capitalize", "default", "first", "int", "join", "last", "length", "lower"),
    *("round", "title", "trim", "truncate", "upper"),
)
_TESTS = ("defined", "undefined", "none", "odd", "even", "in", "divisibleby")
_LOOP = ("index", "index0", "first", "last", "length")
_SYNTAX: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const),
    *(nodes.If, nodes.For, nodes.Test, nodes.Filter, nodes.Keyword, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Concat, nodes.List),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos),
    *(nodes.Getattr, nodes.Getitem, nodes.Call),
)
_NOT_HERE = {
    "Assign": "set",
    "AssignBlock": "set",
    "FromImport": "import",
    "Getslice": "a slice",
    "Slice": "a slice",
    "Pow": "**",
}
_DAY_PARTS = re.compile(r"(?:%[YmdHMSyjaAbB%]|[^%])*")


class Unfit(Exception):
    """A template cannot be used, or not now or not with these values; the text says why."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator != "+" and not (_is_number(left) and _is_number(right)):
            # of a text `*` makes a longer one without end, and `%` fills in widths
            raise Unfit(f"`{operator}` works on numbers only")
        if isinstance(left, Decimal) or isinstance(right, Decimal):
            left, right = (Decimal(str(v)) if isinstance(v, float) else v for v in (left, right))
        return super().call_binop(context, operator, left, right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal)


def _range(*bounds: int) -> range:
    rounds = range(*bounds)
    if len(rounds) > MAX_ROUNDS:
        raise Unfit(f"range of {len(rounds)}: at most {MAX_ROUNDS}")
    return rounds


def _money(value: Any, places: int = 2) -> str:
    """1234.5 -> 1,234.50; halves away from 0."""
    if not _is_number(value) or not 0 <= places <= 6:
        raise Unfit("`money` works on a number, with at most 6 places")
    rounded = Decimal(str(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{rounded:,f}"


def _date(value: Any, form: str = "%Y-%m-%d") -> str:
    """A date or datetime by strftime's letters."""
    if not isinstance(value, date):
        raise Unfit("`date` works on a date or datetime")
    if len(form) > 100 or not _DAY_PARTS.fullmatch(form):
        raise Unfit(
            f"`date` does not know the form {form[:40]!r}; write it like %Y年%m月%d日 %H:%M"
        )
    return value.strftime(form)


def _mask(value: Any, keep: int = 4) -> str:
    """13800138000 -> *******8000."""
    text = str(value)
    shown = min(max(int(keep), 0), len(text))
    return "*" * (len(text) - shown) + text[len(text) - shown :]


def _shown(value: Any) -> Any:
    """How a value is written where no filter says it."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return value


def _environment() -> _Environment:
    made = _Environment(
        undefined=StrictUndefined, autoescape=False, finalize=_shown, keep_trailing_newline=False
    )
    made.filters = {name: made.filters[name] for name in _FILTERS}
    made.filters |= {"money": _money, "date": _date, "mask": _mask}
    made.tests = {name: made.tests[name] for name in _TESTS}
    made.globals = {"range": _range}
    return made


_ENVIRONMENT = _environment()


@dataclass(frozen=True, slots=True)
class Source:
    """One template, compiled. `names`: the variables it uses."""

    text: str
    names: frozenset[str]
    compiled: Compiled

    @classmethod
    def of(cls, text: str) -> Source:
        """Raises Unfit with the line and what is wrong."""
        if len(text) > MAX_SOURCE:
            raise Unfit(f"is longer than {MAX_SOURCE} characters")
        try:
            tree = _ENVIRONMENT.parse(text)
            _check(tree)
            names = frozenset(meta.find_undeclared_variables(tree)) - {"range"}
            return cls(text, names, _ENVIRONMENT.from_string(text))
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise Unfit(f"line {line}: {error.message}" if line else str(error.message)) from error
        except RecursionError as error:
            raise Unfit("is nested too deep") from error

    def render(self, values: Mapping[str, Any], zone: tzinfo) -> str:
        """The text. Raises Unfit."""
        own = {name: _local(values[name], zone) for name in self.names if name in values}
        out: list[str] = []
        size = 0
        try:
            for part in self.compiled.generate(own):
                size += len(part)
                if size > MAX_OUTPUT:
                    raise Unfit(f"comes out longer than {MAX_OUTPUT} characters")
                out.append(part)
        except TemplateError as error:
            raise Unfit(str(error.message)) from error
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error
        return "".join(out)


def _local(value: Any, zone: tzinfo) -> Any:
    return value.astimezone(zone) if isinstance(value, datetime) else value


def _check(node: nodes.Node, *, loop: bool = False) -> None:
    """Raises Unfit for what is not in the language."""
    for child in node.iter_child_nodes():
        if reason := _refusal(child, loop=loop):
            raise Unfit(f"line {child.lineno}: {reason}")
        _check(child, loop=loop or isinstance(child, nodes.For))


def _refusal(node: nodes.Node, *, loop: bool) -> str:
    match node:
        case nodes.For() if loop:
            return "a loop may not stand inside another"
        case nodes.For(recursive=True):
            return "a loop may not be recursive"
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=attr) if attr in _LOOP:
            return ""
        case nodes.Getattr(attr=attr):
            return f"`.{attr}` is not allowed; variables have no parts"
        case nodes.Call(node=nodes.Name(name="range")):
            return ""
        case nodes.Call():
            return "nothing but `range` can be called"
        case nodes.Filter(name=name) if name not in _ENVIRONMENT.filters:
            known = ", ".join(sorted(_ENVIRONMENT.filters))
            return f"there is no filter `{name}`; known filters: {known}"
        case nodes.Test(name=name) if name not in _ENVIRONMENT.tests:
            return f"there is no test `{name}`; known tests: {', '.join(sorted(_TESTS))}"
    if isinstance(node, _SYNTAX):
        return ""
    name = type(node).__name__
    return f"`{_NOT_HERE.get(name, name.lower())}` is not allowed in a template"


def names_of(sources: Mapping[str, Source]) -> Iterator[str]:
    """Every variable that any of them uses, once."""
    yield from dict.fromkeys(name for source in sources.values() for name in sorted(source.names))
