"""The matrix of channel kinds: what each can send, receive, report, take back and repeat, from their Specs; docs/channels.md is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points

from msgcenter.adapter import Adapter, Spec
from msgcenter.archive.content import TYPES
from protocols.payload import CONTENT, Media, Notice

_HEAD = """# Channels

What each kind can do. This page is made of the adapters' own `Spec`s: `msgcenter adapter matrix --out docs/channels.md`; the running
service shows the same at `GET /v1/channels`, and what a configured channel can do beyond or below its kind.

- **delivered, read**: what the far end reports after `sent`. **withdraw**: a message that left can be taken back.
- **repeat known**: the far end recognises a second send of the same message, so a lost answer is settled by sending again.
- **asked**: it can be asked what became of a message. Where neither holds, an unknown is sent again as its category allows, or never
  (see *resend*).
- **needs**: an account of `accounts.yaml` that sends.

"""


def sends(spec: Spec) -> list[str]:
    """The types of content that callers may send by it, as in `content.type`."""
    types = [TYPES[payload] for payload in CONTENT if payload in spec.payloads]
    return types + (["events"] if Notice in spec.payloads else [])


def resend(spec: Spec) -> str:
    """What becomes of a message of which nobody knows whether it left."""
    if spec.idempotent:
        return "same id"
    if spec.resolves:
        return "asked"
    return "by category" if spec.resend else "never"


def installed(own: bool = False) -> dict[str, Spec]:
    """Kind -> Spec of every installed adapter; `own`: those shipped here alone."""
    points = sorted(entry_points(group="msgcenter.adapters"), key=lambda point: point.name)
    kinds = [point for point in points if not own or point.value.startswith("adapters.")]
    found: dict[str, Spec] = {}
    for point in kinds:
        adapter: type[Adapter] = point.load()
        found[point.name] = adapter.spec
    return found


def rows(specs: Iterable[Spec]) -> list[list[str]]:
    """A row of the matrix for each."""

    def mark(yes: object) -> str:
        return "yes" if yes else ""

    return [
        [
            f"`{spec.kind}`",
            ", ".join(f"`{scheme}:`" for scheme in sorted(spec.schemes)) or "-",
            ", ".join(sends(spec)) or "-",
            mark(Media in spec.payloads),
            mark(spec.receives),
            mark("delivered" in spec.receipts),
            mark("read" in spec.receipts),
            mark(spec.recall),
            ", ".join(sorted(spec.groups)),
            mark(spec.idempotent),
            mark(spec.resolves),
            resend(spec) if sends(spec) else "",
            "account" if spec.needs_account else "",
        ]
        for spec in specs
    ]


COLUMNS = (
    *("kind", "reaches", "sends", "media", "receives", "delivered", "read", "withdraw", "groups"),
    *("repeat known", "asked", "resend", "needs"),
)


def page(specs: Sequence[Spec]) -> str:
    """The whole page in Markdown."""
    table = [COLUMNS, ["---"] * len(COLUMNS), *rows(specs)]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    notes = [
        f"\n### {spec.title}\n\n`{spec.kind}`\n\n"
        + "\n".join(f"- **{name}**: {words}" for name, words in spec.limits.items())
        for spec in specs
        if spec.limits
    ]
    return _HEAD + "\n".join(lines) + "\n\n## Limits worth knowing\n" + "\n".join(notes) + "\n"
