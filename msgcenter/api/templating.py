"""Templating: whether a template that a request names can be said with the request's variables when the message is sent."""

from __future__ import annotations

from msgcenter.api.content import AnyContent, TemplateContent
from msgcenter.api.problems import Fault
from msgcenter.config import Config
from msgcenter.templates.book import Version
from msgcenter.templates.variables import Wrong, expected, read_variables

_MOST_LISTED = 20


def versions_of(content: AnyContent, config: Config, at: int) -> tuple[str, tuple[int, ...]]:
    """The template that a content names, and the versions that it may be sent in at `at`; ("", ()) for other content."""
    if not isinstance(content, TemplateContent):
        return "", ()
    wanted = content.payload()
    valid = (v.number for v in config.book.of(wanted.name, wanted.version) if v.valid(at))
    return wanted.name, tuple(valid)


def template_fits(
    content: TemplateContent,
    config: Config,
    account: str | None,
    at: int,
    faults: list[Fault],
    path: str = "",
) -> None:
    """Adds what is wrong: of the template, and of each variable by name. Where the version depends on the customer's place, the
    variables must fit each that may be chosen."""
    book, wanted = config.book, content.payload()
    field = f"{path}content.template"
    known = book.of(wanted.name)
    if not known:
        names = sorted(book.versions)[:_MOST_LISTED]
        faults.append(Fault(field, "template_unknown", content.template, {"known": names}))
        return
    meant = book.of(wanted.name, wanted.version)
    if not meant:
        numbers = [str(version.number) for version in known]
        faults.append(Fault(field, "template_version", content.template, {"known": numbers}))
        return
    if not any(version.valid(at) for version in meant):
        faults.append(Fault(field, "template_not_valid", content.template))
        return
    sender = config.accounts.get(account or "")
    possible = book.possible(
        wanted.name, wanted.version, at, sender.path if sender is not None else ()
    )
    if not possible:
        faults.append(Fault(field, "template_place", content.template))
        return
    _variables_fit(content, possible, faults, f"{path}content.variables")


def _variables_fit(
    content: TemplateContent, versions: list[Version], faults: list[Fault], path: str
) -> None:
    anywhere = {name for version in versions for name in version.variables}
    told: set[str] = set()
    for version in versions:
        _, wrong = read_variables(version.variables, content.variables)
        for one in wrong:
            if one.name in told or (one.what == "unknown" and one.name in anywhere):
                continue
            told.add(one.name)
            faults.append(_fault(one, version, content, path, sorted(anywhere)))


def _fault(
    wrong: Wrong, version: Version, content: TemplateContent, path: str, known: list[str]
) -> Fault:
    facts: dict[str, object] = {"template": version.name}
    if wrong.what == "unknown":
        facts["known"] = known
    else:
        facts["expected"] = expected(version.variables[wrong.name])
    value = content.variables.get(wrong.name)
    shown = value if isinstance(value, str | int | float) else None
    return Fault(f"{path}.{wrong.name}", f"variable_{wrong.what}", shown, facts)
