"""config diff: what a change means, not how the file looks."""

from __future__ import annotations

from pathlib import Path

from msgcenter.clock import ManualClock
from msgcenter.config import Config, Strict, load
from msgcenter.config.diff import diff, touches_rules

ROUTES = "routes: [{kind: devnull, channel: a}]\n"
POLICY = """
zone: Asia/Shanghai
quiet:
  night: {windows: [{hours: "22:00-08:00"}]}
caps:
  daily: {scope: person, windows: [{rolling: 1d, limit: 3}, {gap: 1h}], on_cap: drop}
  weekly: {scope: person, windows: [{rolling: 7d, limit: 9}], on_cap: drop}
"""


def config(folder: Path, name: str, **files: str) -> Config:
    where = folder / name
    where.mkdir()
    given = {
        "channels": "a: {kind: devnull}\nb: {kind: devnull}\n",
        "routes": ROUTES,
        "policy": POLICY,
        **files,
    }
    for file, text in given.items():
        (where / f"{file}.yaml").write_text(text)
    return load(where, settings_models={"devnull": Strict}, env={}, clock=ManualClock())


def told(old: Config, new: Config) -> list[str]:
    return [f"{one.file}: {one}" for one in diff(old, new)]


def test_comments_order_and_spelled_out_defaults_are_no_difference(tmp_path: Path) -> None:
    other = "# why\ncaps:\n  weekly: {windows: [{rolling: 168h, limit: 9}], scope: person, on_cap: drop}\n"
    other += (
        "  daily: {on_cap: drop, scope: person, windows: [{rolling: 24h, limit: 3}, {gap: 60m}]}\n"
    )
    other += 'quiet: {night: {windows: [{hours: "22:00-08:00"}]}}\nspread: 30m\n'
    assert told(config(tmp_path, "a"), config(tmp_path, "b", policy=other)) == []


def test_each_changed_rule_is_told_in_words(tmp_path: Path) -> None:
    new = POLICY.replace("limit: 3", "limit: 4").replace("  weekly", "  monthly")
    new = new.replace("-08:00", "-09:00") + "categories: {care: {content: none}}\nspread: 10m\n"
    old = config(tmp_path, "a", words="lists: {rude: [darn, heck]}\n")
    changed = config(
        tmp_path,
        "b",
        policy=new,
        routes="routes: [{kind: devnull, channel: b}]\n",
        words="lists: {rude: [damn]}\n",
        channels="b: {kind: devnull, send_timeout: 5s}\n",
    )
    changes = diff(old, changed)
    print("\n".join(f"{one.file}: {one}" for one in changes))
    assert [f"{one.file}: {one}" for one in changes if one.what == "changed"] == [
        "channels.yaml: channel `b` changed: send_timeout 30s -> 5s",
        "policy.yaml: category `care` changed: content full -> none",
        "policy.yaml: `spread` changed: 30m -> 10m",
        "policy.yaml: quiet time `night` changed: windows[1].hours 22:00-08:00 -> 22:00-09:00",
        "policy.yaml: cap `daily` changed: windows[1].limit 3 -> 4",
        "words.yaml: word list `rude` changed: without [darn, heck] and with [damn]",
    ]
    assert [(one.what, one.rule) for one in changes if one.what != "changed"] == [
        ("removed", "channel `a`"),
        ("removed", "route 1"),
        ("added", "route 1"),
        ("added", "cap `monthly`"),
        ("removed", "cap `weekly`"),
    ]
    assert touches_rules(changes)


def test_routes_that_change_places_are_told_as_that(tmp_path: Path) -> None:
    one = "{kind: devnull, channel: a, when: {categories: [care, reply]}}"
    two = "{kind: devnull, channel: b, when: {categories: [care, marketing]}}"
    rest = "{kind: devnull, channel: a}"
    old = config(tmp_path, "a", routes=f"routes: [{one}, {two}, {rest}]\n")
    new = config(tmp_path, "b", routes=f"routes: [{two}, {one}, {rest}]\n")
    assert told(old, new) == ["routes.yaml: the order of routes changed: the first that fits wins"]


def test_a_new_channel_decides_nothing_anew(tmp_path: Path) -> None:
    more = "a: {kind: devnull}\nb: {kind: devnull}\nc: {kind: devnull}\n"
    changes = diff(config(tmp_path, "a"), config(tmp_path, "b", channels=more))
    assert [(one.what, one.rule) for one in changes] == [("added", "channel `c`")]
    assert not touches_rules(changes)
