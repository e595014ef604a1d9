"""`/v1/customers`: what it takes and refuses, who may, what State is told, what is audited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from msgcenter.state import Admit
from protocols.envelope import Key
from tests.unit.api import parts as rig
from tests.unit.api.parts import Parts

TEL = "tel:+8613800138000"
OTHER = "tel:+8613900139000"
NUMBERS = count()
FILES = {
    "callers.yaml": rig.FILES["callers.yaml"].replace(
        "crm:\n  scopes: [send, read]", "crm:\n  scopes: [send, read, customers]"
    )
    + "report:\n  scopes: [read, 'read:customers']\n"
}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start(FILES)
    yield parts
    await parts.close()


async def put(parts: Parts, name: str, **body: Any) -> dict[str, Any]:
    status, answer, _ = await parts.call("PUT", f"/v1/customers/{name}", body)
    assert status == 200, answer
    return dict(answer)


def held(*addresses: str) -> list[dict[str, str]]:
    return [{"address": address} for address in addresses]


async def stopped(parts: Parts, key: str) -> str:
    """The rule by which State stops messages of a person; empty = none."""
    ask = Admit(Key(f"msg_{next(NUMBERS)}", 0, 0, "channel"), (f"person:{key}",), "w", 1.0)
    return (await parts.state.admit([ask]))[0].rule


async def test_a_customer_is_made_and_said_more_of(parts: Parts) -> None:
    made = await put(
        parts,
        "c-1",
        zone="Asia/Shanghai",
        city="广州",
        level="gold",
        organisation="广东/广州/天河",
        agent="own",
        tags=["5G", "vip"],
        addresses=[{"address": "13800138000"}, {"address": "wecom:ww1/app/wm1"}],
    )
    assert (made["id"], made["person"], made["members"]) == ("c-1", "c-1", ["c-1"])
    assert [one["address"] for one in made["addresses"]] == [TEL, "wecom:ww1/app/wm1"]
    more = await put(parts, "c-1", level="", add_tags=["宽带"], remove_tags=["5G"])
    assert ("level" in more, more["city"]) == (False, "广州")
    assert [(one["name"], one["source"]) for one in more["tags"]] == [
        ("vip", "crm"),
        ("宽带", "crm"),
    ]
    assert (await put(parts, "c-1", tags=[]))["tags"] == []
    status, shown, _ = await parts.get("/v1/customers/c-1", caller="report")
    assert (status, shown["city"]) == (200, "广州")
    _, found, _ = await parts.get("/v1/customers", params={"address": "13800138000"})
    assert found["items"][0]["id"] == "c-1"
    _, nobody, _ = await parts.get("/v1/customers", params={"address": OTHER})
    assert "id" not in nobody["items"][0]
    assert nobody["items"][0]["person"] == OTHER
    assert (await parts.get("/v1/customers/none"))[0] == 404


async def test_every_fault_is_told_in_both_languages(parts: Parts) -> None:
    await put(parts, "c-1", addresses=held(TEL))
    body = {
        "zone": "Mars/Olympus",
        "organisation": "a//b",
        "agent": "robot",
        "addresses": [{"address": "12"}, {"address": "group:g1"}],
        "preferences": {"windows": [{"start": "25:00", "end": "08:00"}]},
        "nmae": 1,
    }
    status, problem, _ = await parts.call("PUT", "/v1/customers/c-2", body)
    assert status == 422
    assert {(e["field"], e["code"]) for e in problem["errors"]} == {
        ("zone", "zone_unknown"),
        ("organisation", "path_invalid"),
        ("agent", "not_one_of"),
        ("addresses[0].address", "number_invalid"),
        ("addresses[1].address", "address_no_person"),
        ("preferences.windows[0].start", "pattern"),
        ("nmae", "unknown_field"),
    }
    zh = {"Accept-Language": "zh"}
    path = "/v1/customers/c-2"
    _, problem, _ = await parts.call("PUT", path, {"addresses": held(TEL)}, headers=zh)
    assert problem["errors"][0]["code"] == "address_taken"
    assert "c-1" in problem["errors"][0]["detail"]
    assert "valid_from" in problem["errors"][0]["remedy"]
    _, problem, _ = await parts.call("PUT", "/v1/customers/cus_1", {})
    assert problem["errors"][0]["code"] == "customer_id_reserved"
    _, problem, _ = await parts.call("PUT", "/v1/customers/a%25b", {})
    assert problem["errors"][0]["code"] == "customer_id_invalid"


async def test_the_examples_of_the_description_are_good(parts: Parts) -> None:
    _, document, _ = await parts.get("/openapi.json")
    await put(parts, "crm-20077")
    for method, path, route in (
        ("PUT", "/v1/customers/c-1", "/v1/customers/{id}"),
        ("PUT", "/v1/customers/c-1/preferences", "/v1/customers/{id}/preferences"),
        ("POST", "/v1/customers/c-1/consents", "/v1/customers/{id}/consents"),
        ("POST", "/v1/customers/c-1/blocks", "/v1/customers/{id}/blocks"),
        ("POST", "/v1/customers/c-1:link", "/v1/customers/{id}:link"),
    ):
        body = document["paths"][route][method.lower()]["requestBody"]
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        [example] = document["components"]["schemas"][name]["examples"]
        status, answer, _ = await parts.call(method, path, example)
        assert status in (200, 201), answer
    lift = document["paths"]["/v1/customers/{id}/blocks/{block}"]["delete"]
    assert [one["name"] for one in lift["parameters"]] == ["id", "block", "Idempotency-Key"]


async def test_scopes(parts: Parts) -> None:
    for method, path, body, caller in (
        ("GET", "/v1/customers", None, "iop"),
        ("PUT", "/v1/customers/c-1", {}, "report"),
        ("POST", "/v1/customers/c-1:erase", {}, "iop"),
    ):
        status, problem, _ = await parts.call(method, path, body, caller=caller)
        assert (status, problem["code"]) == (403, "scope_missing")
    assert (await parts.get("/v1/customers", caller="report"))[0] == 200


async def test_a_number_that_changed_hands_starts_from_nothing(parts: Parts) -> None:
    await put(parts, "c-1", addresses=held(TEL), tags=["old"])
    await parts.post("/v1/customers/c-1/consents", {"state": "withdrawn"})
    since = "2026-03-01T00:00:00+08:00"
    await put(parts, "c-2", addresses=[{"address": TEL, "valid_from": since}])
    _, found, _ = await parts.get("/v1/customers", params={"address": TEL})
    assert (found["items"][0]["id"], found["items"][0]["consents"]) == ("c-2", [])
    query = {"address": TEL, "at": "2026-02-01T00:00:00+08:00"}
    _, before, _ = await parts.get("/v1/customers", params=query)
    assert before["items"][0]["id"] == "c-1"
    assert before["items"][0]["addresses"][0]["valid_to"] == "2026-02-28T16:00:00.000Z"


async def test_preferences_replace_and_consents_add(parts: Parts) -> None:
    await put(parts, "c-1", addresses=held(TEL))
    wish = {
        "windows": [{"start": "22:00", "end": "08:00", "days": [6, 7], "channels": ["sms"]}],
        "mutes": [{"until": "2099-01-01T00:00:00Z"}],
        "service_only": True,
        "channels": ["wecom-app", "sms"],
    }
    status, answer, _ = await parts.call("PUT", "/v1/customers/c-1/preferences", wish)
    assert status == 200
    assert answer["preferences"]["windows"] == wish["windows"]
    assert answer["preferences"]["mutes"] == [{"until": "2099-01-01T00:00:00.000Z"}]
    status, answer, _ = await parts.call("PUT", "/v1/customers/c-1/preferences", {})
    assert answer["preferences"] == {
        "windows": [],
        "mutes": [],
        "service_only": False,
        "channels": [],
    }
    given = {"state": "granted", "channel": "sms", "category": "marketing", "proof": "p-1"}
    given |= {"at": "2026-01-01T00:00:00Z", "wording": "v3", "source": "营业厅"}
    for _ in range(2):
        status, answer, _ = await parts.post("/v1/customers/c-1/consents", given)
        assert status == 201, answer
    await parts.post("/v1/customers/c-1/consents", {**given, "state": "withdrawn"})
    _, evidence, _ = await parts.get("/v1/customers/c-1/consents", params={"limit": "1"})
    assert (evidence["items"][0]["proof"], len(evidence["items"])) == ("p-1", 1)
    _, rest, _ = await parts.get(
        "/v1/customers/c-1/consents", params={"cursor": evidence["next_cursor"]}
    )
    assert len(rest["items"]) == 1
    _, shown, _ = await parts.get("/v1/customers/c-1")
    assert [one["state"] for one in shown["consents"]] == ["withdrawn"]
    _, trail, _ = await parts.get("/v1/customers/c-1/audit")
    whats = [line["what"] for line in trail["items"]]
    assert whats[0] == "customer.consent_withdrawn"
    assert whats[-1] == "customer.put"
    assert trail["items"][0]["who"].startswith("crm/")
    assert TEL not in str(trail)


async def test_a_block_reaches_state_and_is_lifted(parts: Parts) -> None:
    await put(parts, "c-1", addresses=held(TEL))
    headers = {"Idempotency-Key": "k"}
    body = {"level": "block", "reason": "投诉"}
    status, first, _ = await parts.post("/v1/customers/c-1/blocks", body, headers=headers)
    assert (status, first["blocks"][0]["in_force"]) == (201, True)
    status, again, more = await parts.post("/v1/customers/c-1/blocks", body, headers=headers)
    assert (again, more["Idempotent-Replayed"]) == (first, "true")
    assert await stopped(parts, "c-1") == await stopped(parts, TEL) == "blocked"
    # a further address of a blocked person, and a customer linked with it, are silent too
    await put(parts, "c-1", addresses=held(OTHER))
    assert await stopped(parts, OTHER) == "blocked"
    await put(parts, "c-2")
    assert await stopped(parts, "c-2") == ""
    link = {"with": "c-2", "evidence": "operator"}
    assert (await parts.post("/v1/customers/c-1:link", link))[0] == 200
    assert await stopped(parts, "c-2") == "blocked"
    assert (await parts.post("/v1/customers/c-2:unlink", {"with": "c-1"}))[0] == 200
    assert (await stopped(parts, "c-2"), await stopped(parts, TEL)) == ("", "blocked")
    # what State forgot is put back
    await parts.state.unsuppress(["person:c-1"])
    await parts.deps.customers.restore()
    assert await stopped(parts, "c-1") == "blocked"
    name = first["blocks"][0]["id"]
    assert (await parts.call("DELETE", f"/v1/customers/c-1/blocks/{name}"))[0] == 200
    assert [await stopped(parts, key) for key in ("c-1", TEL, OTHER)] == ["", "", ""]
    status, problem, _ = await parts.call("DELETE", f"/v1/customers/c-1/blocks/{name}")
    assert (status, problem["detail"].split("`")[1]) == (404, name)
    past = {"level": "slow", "until": "2020-01-01T00:00:00Z"}
    _, problem, _ = await parts.post("/v1/customers/c-1/blocks", past)
    assert problem["errors"][0]["code"] == "time_past"


async def test_a_refused_claim_leaves_its_holder_speaking(parts: Parts) -> None:
    await put(parts, "c-1", addresses=held(TEL))
    await put(parts, "c-2")
    await parts.post("/v1/customers/c-2/blocks", {"level": "block"})
    status, _, _ = await parts.call("PUT", "/v1/customers/c-2", {"addresses": held(TEL)})
    assert status == 422
    assert await stopped(parts, TEL) == ""
    assert await stopped(parts, "c-2") == "blocked"


async def test_links_are_refused_with_a_reason_and_undone(parts: Parts) -> None:
    await put(parts, "c-1", addresses=held(TEL))
    await put(parts, "c-2", addresses=held(OTHER), city="深圳")
    path = "/v1/customers/c-1:link"
    bad = await parts.post(path, {"with": "c-1", "evidence": "x", "confidence": 2})
    assert bad[1]["errors"][0]["code"] == "out_of_range"
    bad = await parts.post(path, {"with": "c-1", "evidence": "x"})
    assert bad[1]["errors"][0]["code"] == "link_self"
    assert (await parts.post(path, {"with": "c-9", "evidence": "x"}))[0] == 404
    asked = {"with": "c-2", "evidence": "unionid", "canonical": "c-2"}
    status, both, _ = await parts.post(path, asked)
    assert (status, both["id"], both["members"], both["city"]) == (
        200,
        "c-2",
        ["c-2", "c-1"],
        "深圳",
    )
    assert both["links"][0]["evidence"] == "unionid"
    status, alone, _ = await parts.post("/v1/customers/c-1:unlink", {"with": "c-2"})
    assert (alone["id"], alone["links"][0]["undone_by"][:4]) == ("c-1", "crm/")
    status, problem, _ = await parts.post("/v1/customers/c-1:unlink", {"with": "c-2"})
    assert (status, problem["code"]) == (404, "not_found")


async def test_what_an_erasure_leaves(parts: Parts) -> None:
    await put(parts, "c-1", addresses=held(TEL), city="广州", tags=["vip"])
    granted = {"state": "granted", "channel": "sms", "category": "care", "proof": "p-77"}
    await parts.post("/v1/customers/c-1/consents", granted)
    await parts.post("/v1/customers/c-1/consents", {"state": "withdrawn", "category": "marketing"})
    await parts.post("/v1/customers/c-1/blocks", {"level": "block", "reason": "张三投诉"})
    status, receipt, _ = await parts.post("/v1/customers/c-1:erase")
    assert (status, receipt["refusals_kept"], receipt["proofs_kept"]) == (200, 1, 1), receipt
    assert (await parts.get("/v1/customers/c-1"))[0] == 404
    _, left, _ = await parts.get(f"/v1/customers/{receipt['ids'][0]}")
    _, evidence, _ = await parts.get(f"/v1/customers/{receipt['ids'][0]}/consents")
    _, trail, _ = await parts.get(f"/v1/customers/{receipt['ids'][0]}/audit")
    for word in (TEL, "13800138000", "c-1", "广州", "vip", "p-77", "张三"):
        assert word not in str(left) + str(evidence), word
    assert trail["items"][0]["what"] == "customer.erase"
    # whoever comes back with the address meets the refusal and the block
    back = await put(parts, "c-1", addresses=held(TEL))
    assert ([one["state"] for one in back["consents"]], back["blocks"][0]["level"]) == (
        ["withdrawn"],
        "block",
    )
    assert (await stopped(parts, "c-1"), await stopped(parts, TEL)) == ("blocked", "blocked")


async def test_a_batch_judges_each_and_may_be_repeated(parts: Parts) -> None:
    body = {
        "customers": [
            {"id": "c-1", "addresses": held(TEL), "tags": ["a"]},
            {
                "addresses": held(OTHER),
                "consents": [{"state": "withdrawn", "at": "2026-01-01T00:00:00Z"}],
            },
            {"id": "c-3", "zone": "Mars"},
            {"id": "c-4", "addresses": held(TEL)},
            {"city": "x"},
        ]
    }
    status, answer, _ = await parts.post("/v1/customers:batch", body)
    assert (status, answer["saved"], answer["refused"]) == (200, 2, 3)
    codes = [one.get("errors", [{}])[0].get("code") for one in answer["items"]]
    assert codes == [None, None, "zone_unknown", "address_taken", "customer_nameless"]
    assert answer["items"][1]["id"].startswith("cus_")
    before = (await parts.get("/v1/customers"))[1]
    await parts.post("/v1/customers:batch", body)
    after = (await parts.get("/v1/customers"))[1]
    assert after == before
    _, tagged, _ = await parts.get("/v1/customers", params={"tag": "a"})
    assert [one["id"] for one in tagged["items"]] == ["c-1"]
    # the implicit customer joins the first that claims its address, and keeps its refusal
    joined = await put(parts, "c-5", addresses=held(OTHER))
    assert (joined["id"], joined["consents"][0]["state"]) == ("c-5", "withdrawn")
    assert len(joined["members"]) == 2
    problem = (await parts.post("/v1/customers:batch", {"customers": []}))[1]
    assert problem["errors"][0]["code"] == "too_short"
