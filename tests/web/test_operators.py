"""Decisions on many diffs, holds and undos over HTTP."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from app.audit.entries import IntentEntry, Outcome, OutcomeEntry
from app.audit.store import AuditStore
from app.clock import now
from app.reconciliation.deciding import history, undo
from app.reconciliation.ledger.views import FieldView
from app.stores.connections import Stores

BASE = "/v1/reconciliation"


async def put_diff(
    stores: Stores,
    status: str = "in_review",
    key: str | None = None,
    *,
    entity: str = "customers",
    kind: str = "fields",
    winner: str | None = None,
) -> str:
    field = FieldView("a", 1, 2, "an operator decides", winner, None)
    diff_id = await stores.core.fetchval(
        """
        INSERT INTO diffs (entity, key, cause, kind, status, fields, fingerprint)
        VALUES ($1, $2, 'test', $3, $4, $5::jsonb, 'f') RETURNING id
        """,
        entity,
        key or str(uuid4()),
        kind,
        status,
        msgspec.json.encode([field] if kind in {"fields", "invariant"} else []).decode(),
    )
    return str(diff_id)


async def put_change(stores: Stores, run_id: UUID | None = None, key: str | None = None) -> UUID:
    intent = IntentEntry(
        id=uuid4(), at=now(), deadline=now(), entity="customers", key=key or str(uuid4()), side="relational",
        action="update", before={"x": 1}, after={"x": 2}, policy={}, cause="test", diff_id=uuid4(), run_id=run_id,
    )  # fmt: skip
    outcome = OutcomeEntry(id=intent.id, at=now(), outcome=Outcome.APPLIED)
    await AuditStore.of(stores).append([intent, outcome])
    return intent.id


async def test_many_diffs_are_decided_by_one_call_in_its_order(
    real: httpx.AsyncClient, stores: Stores, woken: list[Any]
):
    ids = [await put_diff(stores) for _ in range(3)][::-1]

    answer = await real.post(f"{BASE}/diffs/approve", json={"ids": ids, "side": "document", "reason": "seen"})

    assert answer.status_code == 200
    assert [(diff["id"], diff["status"], diff["decision"]) for diff in answer.json()] == [
        (each, "approved", "seen") for each in ids
    ]
    assert woken == ["repairs"]
    facts = await stores.core.fetch("SELECT entry ->> 'target' AS target FROM audit_outbox ORDER BY position")
    assert [row["target"] for row in facts] == ids
    assert await stores.core.fetchval("SELECT count(*) FROM suspects") == 3


async def test_where_some_cannot_be_decided_all_are_left_and_each_is_named(
    real: httpx.AsyncClient, stores: Stores, woken: list[Any]
):
    good, repaired = await put_diff(stores), await put_diff(stores, "repaired")
    ids = [good, repaired, str(uuid4())]

    for call in ("approve", "reject"):
        side = {"side": "document"} if call == "approve" else {}
        answer = await real.post(f"{BASE}/diffs/{call}", json={"ids": ids, "reason": "seen", **side})
        assert answer.status_code == 409
        assert [fault["where"] for fault in answer.json()["errors"]] == ["ids/1", "ids/2"]
        assert "repaired" in answer.json()["errors"][0]["message"]
    assert (await real.get(f"{BASE}/diffs/{good}")).json()["status"] == "in_review"
    assert woken == []


@pytest.mark.parametrize(
    ("diff", "approvable"),
    [
        ({}, True),
        ({"status": "open"}, False),
        ({"status": "repaired"}, False),
        ({"winner": "document"}, False),
        ({"kind": "missing_document"}, True),
        ({"kind": "missing_relational"}, False),
        ({"kind": "missing_document", "entity": "launches"}, False),
        ({"kind": "invariant"}, False),
        ({"kind": "unreadable_key"}, False),
        ({"entity": "no_longer_mapped"}, False),
    ],
)
async def test_a_diff_says_whether_choosing_a_side_settles_it(
    real: httpx.AsyncClient, stores: Stores, woken: list[Any], diff: dict[str, Any], approvable: bool
):
    diff_id = await put_diff(stores, **diff)

    [listed] = (await real.get(f"{BASE}/diffs")).json()["items"]
    shown = (await real.get(f"{BASE}/diffs/{diff_id}")).json()
    approval = {"side": "document", "reason": "go"}
    answer = await real.post(f"{BASE}/diffs/{diff_id}/approve", json=approval)

    assert listed["approvable"] == shown["approvable"] == approvable
    assert answer.status_code == (200 if approvable else 409)


async def test_a_record_is_named_by_its_id_wherever_it_is_asked_for(
    real: httpx.AsyncClient, stores: Stores, woken: list[Any]
):
    key = str(uuid4())
    named = {"entity": "customers", "id": key.upper()}
    for each in (key, str(uuid4())):
        await put_diff(stores, key=each)
        await put_change(stores, key=each)
        record = {"entity": "customers", "id": each}
        await real.post(f"{BASE}/holds", json={"records": [record], "reason": "why"})

    for path in ("diffs", "changes", "holds"):
        page = (await real.get(f"{BASE}/{path}", params=named)).json()
        assert [each["key"] for each in page["items"]] == [key], path
        answer = await real.get(f"{BASE}/{path}", params={"key": key})
        assert answer.status_code == 422, path
        assert "known are" in answer.json()["errors"][0]["message"]


async def test_a_record_with_a_long_past_says_where_it_goes_on(
    real: httpx.AsyncClient, stores: Stores, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(history, "_MOST", 2)
    key = str(uuid4())
    diffs = [await put_diff(stores, "repaired", key) for _ in range(3)][::-1]
    changes = [str(await put_change(stores, key=key)) for _ in range(3)][::-1]

    story = (await real.get(f"{BASE}/records/customers/{key}")).json()
    for name, ids in (("diffs", diffs), ("changes", changes)):
        rest = {"entity": "customers", "id": key, "cursor": story[f"more_{name}"]}
        older = (await real.get(f"{BASE}/{name}", params=rest)).json()
        assert [each["id"] for each in story[name] + older["items"]] == ids

    monkeypatch.setattr(history, "_MOST", 3)
    story = (await real.get(f"{BASE}/records/customers/{key}")).json()
    assert (story["more_diffs"], story["more_changes"]) == (None, None)


async def test_the_changes_of_a_run_are_listed_whatever_their_entity(real: httpx.AsyncClient, stores: Stores):
    run_id = uuid4()
    change = await put_change(stores, run_id)

    listed = await real.get(f"{BASE}/changes?run_id={run_id}")
    refused = await real.get(f"{BASE}/changes?run_id={run_id}&entity=customers")

    assert [each["id"] for each in listed.json()["items"]] == [str(change)]
    assert refused.status_code == 422
    assert "of any entity" in refused.json()["errors"][0]["message"]


async def test_of_none_of_the_diffs_it_is_said_that_they_are_not_found(real: httpx.AsyncClient):
    body = {"ids": [str(uuid4()), str(uuid4())], "reason": "why"}
    assert (await real.post(f"{BASE}/diffs/reject", json=body)).status_code == 404
    for wrong in ([], ["x"], [str(uuid4())] * 1001):
        answer = await real.post(f"{BASE}/diffs/reject", json={"ids": wrong, "reason": "why"})
        assert answer.status_code == 422, wrong[:2]


async def test_a_held_record_is_released_before_its_diff_is_approved(
    real: httpx.AsyncClient, stores: Stores, woken: list[Any]
):
    key = str(uuid4())
    diff = await put_diff(stores, key=key)
    held = {"records": [{"entity": "customers", "id": key.upper()}], "reason": "wait"}
    placed = await real.post(f"{BASE}/holds", json=held)
    assert (placed.status_code, len(placed.json()["placed"])) == (200, 1)
    assert len((await real.post(f"{BASE}/holds", json=held)).json()["already_held"]) == 1
    assert [hold["key"] for hold in (await real.get(f"{BASE}/holds?entity=customers")).json()["items"]] == [
        key
    ]

    approval = {"side": "document", "reason": "go"}
    refused = await real.post(f"{BASE}/diffs/{diff}/approve", json=approval)
    assert refused.status_code == 409
    assert "release it first" in refused.json()["detail"]
    assert woken == []

    released = await real.post(f"{BASE}/holds/release", json=held)
    assert [hold["key"] for hold in released.json()] == [key]
    assert (await real.post(f"{BASE}/diffs/{diff}/approve", json=approval)).status_code == 200
    assert woken == ["repairs", "repairs"]
    again = await real.post(f"{BASE}/holds/release", json=held)
    assert again.status_code == 409
    assert again.json()["errors"] == [{"where": f"customers/{key}", "message": "is not held"}]


async def test_every_malformed_record_is_named(real: httpx.AsyncClient):
    records = [{"entity": "customers", "id": "7"}, {"entity": "moons", "id": "7"}]
    answer = await real.post(f"{BASE}/holds", json={"records": records, "reason": "why"})
    assert answer.status_code == 422
    assert [fault["where"] for fault in answer.json()["errors"]] == ["records/0/id", "records/1/entity"]


@pytest.mark.parametrize("whole_run", [True, False])
async def test_an_undo_is_begun_announced_and_found_at_its_location(
    real: httpx.AsyncClient, stores: Stores, woken: list[Any], whole_run: bool
):
    run_id = uuid4()
    changes = [str(await put_change(stores, run_id)) for _ in range(3)]
    choice = {"run_id": str(run_id)} if whole_run else {"change_ids": changes}
    preview = await real.post(f"{BASE}/undos/preview", json=choice)
    assert (preview.status_code, preview.json()) == (200, {"changes": 3, "records": 3, "refused": 0})

    answer = await real.post(f"{BASE}/undos", json={**choice, "reason": "wrong"})

    assert answer.status_code == 202
    begun = answer.json()
    assert (begun["status"], begun["pending"], begun["run_id"]) == ("queued", 3, choice.get("run_id"))
    assert woken == [UUID(begun["id"])]
    assert (await real.get(answer.headers["location"])).json() == begun
    assert (await real.get(f"{BASE}/undos")).json()["items"] == [begun]
    first = (await real.get(f"{answer.headers['location']}/items?limit=2&status=pending")).json()
    rest = (await real.get(f"{answer.headers['location']}/items?cursor={first['next_cursor']}")).json()
    assert [each["change_id"] for each in first["items"] + rest["items"]] == changes[::-1]
    assert len((await real.get(f"{BASE}/holds")).json()["items"]) == 3

    again = (await real.post(f"{BASE}/undos", json={**choice, "reason": "wrong"})).json()
    assert (again["pending"], again["refused"]) == (0, 3)
    page = (await real.get(f"{BASE}/undos/{again['id']}/items?status=refused")).json()
    assert {each["reason"] for each in page["items"]} == {f"about to be undone by undo {begun['id']}"}


async def test_what_is_to_be_undone_must_be_said(real: httpx.AsyncClient, woken: list[Any]):
    one = str(uuid4())
    for body, status in (
        ({"reason": "why"}, 422),
        ({"run_id": one, "change_ids": [one], "reason": "why"}, 422),
        ({"run_id": one}, 422),
        ({"run_id": one, "reason": "why"}, 404),
        ({"change_ids": [one], "reason": "why"}, 404),
    ):
        answer = await real.post(f"{BASE}/undos", json=body)
        assert answer.status_code == status, (body, answer.text)
    for path in (f"undos/{one}", f"undos/{one}/items"):
        assert (await real.get(f"{BASE}/{path}")).status_code == 404
    run = (await real.post(f"{BASE}/runs", json={"entity": "customers"})).json()
    woken.clear()
    active = await real.post(f"{BASE}/undos", json={"run_id": run["id"], "reason": "why"})
    assert (active.status_code, active.json()["instance"]) == (409, f"{BASE}/runs/{run['id']}")
    assert woken == []


def test_every_status_of_an_undone_change_can_be_asked_for():
    from web.inputs import UndoItemStatus

    assert UndoItemStatus.__args__ == undo.ITEM_STATUSES
