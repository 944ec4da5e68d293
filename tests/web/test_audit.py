"""The audit over HTTP, and that whoever reads it is recorded in it."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.audit.entries import Fact, FactEntry
from app.audit.store import AuditStore
from app.clock import now
from app.stores.connections import Stores
from tests.web.test_operators import put_change

AUDIT = "/v1/audit"
KEY = str(uuid4())


async def put_fact(stores: Stores, name: Fact = Fact.RUN_PAUSED, *, actor: str = "ann") -> None:
    entry = FactEntry(id=uuid4(), at=now(), name=name, actor=actor, target="run 7", reason="why not")
    await AuditStore.of(stores).append([entry])


async def items(caller: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    answer = await caller.get(AUDIT, params=filters)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def reads(caller: httpx.AsyncClient) -> list[tuple[str, str]]:
    found = await items(caller, actor="client:operator", order="oldest")
    return [(each["name"], each["entry"]["target"]) for each in found]


async def test_entries_are_shown_readably_the_latest_first(real: httpx.AsyncClient, stores: Stores):
    run = uuid4()
    change = await put_change(stores, run, KEY)
    await put_fact(stores)

    fact, outcome, intent = await items(real)

    assert [each["sequence"] for each in (fact, outcome, intent)] == [3, 2, 1]
    assert fact["text"] == "ann paused run run 7: why not"
    assert (fact["kind"], fact["name"], fact["actor"]) == ("fact", "operator:run:pause", "ann")
    assert outcome["text"] == f"update customers {KEY} on the relational side (x): applied"
    assert (outcome["entity"], outcome["key"], outcome["run_id"]) == ("customers", KEY, str(run))
    assert intent["entry"]["type"] == "intent"
    assert intent["entry"]["after"] == {"x": 2}
    assert intent["entry"]["id"] == str(change)


async def test_entries_are_found_by_what_they_are_about(real: httpx.AsyncClient, stores: Stores):
    run = uuid4()
    await put_change(stores, run, KEY)
    await put_change(stores)
    await put_fact(stores)
    await put_fact(stores, Fact.HOLD_PLACED, actor="bob")

    async def found(**filters: Any) -> list[int]:
        return [each["sequence"] for each in await items(real, **filters)]

    assert await found(kind="intent") == [3, 1]
    assert await found(run_id=str(run)) == [2, 1]
    assert await found(entity="customers", id=KEY.upper()) == [2, 1]
    assert await found(actor="bob") == [6]
    assert await found(name="operator:run:pause") == [5]
    assert await found(entity="gone", id="x") == []
    assert (await found(order="oldest", limit=2)) == [1, 2]
    assert await found(until="1h") == []
    assert len(await found(since="15m", kind="outcome")) == 2


async def test_pages_follow_each_other(real: httpx.AsyncClient, stores: Stores):
    for _ in range(5):
        await put_fact(stores)

    seen, cursor = [], None
    while True:
        page = (
            await real.get(
                AUDIT, params={"actor": "ann", "limit": 2, **({"cursor": cursor} if cursor else {})}
            )
        ).json()
        seen += [each["sequence"] for each in page["items"]]
        assert page["complete"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [5, 4, 3, 2, 1]


async def test_one_entry_is_shown_or_not_found(real: httpx.AsyncClient, stores: Stores):
    await put_fact(stores)

    assert (await real.get(f"{AUDIT}/1")).json()["text"].startswith("ann paused")
    for sequence in ("9", "0", "-1", str(2**80)):
        assert (await real.get(f"{AUDIT}/{sequence}")).status_code == 404


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"kind": "gossip"}, ["kind"]),
        ({"name": "gossip"}, ["name"]),
        ({"run_id": "7"}, ["run_id"]),
        ({"since": "yesterday", "until": "2026-01-01"}, ["since", "until"]),
        ({"id": "7"}, ["entity"]),
        ({"order": "random"}, ["order"]),
        ({"limit": "0"}, ["limit"]),
        ({"cursor": "x"}, ["cursor"]),
        ({"who": "ann"}, ["who"]),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused_and_not_recorded_as_a_read(
    real: httpx.AsyncClient, query: dict[str, str], where: list[str]
):
    answer = await real.get(AUDIT, params=query)

    assert answer.status_code == 422
    assert [fault["where"] for fault in answer.json()["errors"]] == where
    assert (await real.get(AUDIT, params={"entity": "customers", "id": "no-uuid"})).status_code == 422
    assert await items(real) == []


async def test_whoever_reads_the_audit_the_changes_or_a_record_is_recorded_once(
    real: httpx.AsyncClient, stores: Stores
):
    await put_change(stores, None, KEY)
    for _ in range(3):
        for path in (AUDIT, f"{AUDIT}/1", f"{AUDIT}?kind=intent&limit=1", "/v1/reconciliation/changes",
                     f"/v1/reconciliation/changes?entity=customers&id={KEY.upper()}",
                     f"/v1/reconciliation/records/customers/{KEY}"):  # fmt: skip
            assert (await real.get(path)).status_code == 200

    assert await reads(real) == [
        ("operator:audit:read", "everything"),
        ("operator:audit:read", "sequence 1"),
        ("operator:audit:read", "kind intent"),
        ("operator:changes:read", "everything"),
        ("operator:changes:read", f"entity customers, id {KEY}"),
        ("operator:record:read", f"entity customers, id {KEY}"),
    ]
    about = [each["name"] for each in await items(real, entity="customers", id=KEY, kind="fact")]
    assert about == ["operator:record:read", "operator:changes:read"]


async def test_whoever_asks_for_what_is_not_there_is_recorded_too(real: httpx.AsyncClient, stores: Stores):
    beyond = 10**30
    for path in (f"{AUDIT}/77", f"{AUDIT}/{beyond}", "/v1/reconciliation/records/planets/7",
                 "/v1/reconciliation/changes?entity=planets"):  # fmt: skip
        for _ in range(2):
            assert (await real.get(path)).status_code == 404

    assert await reads(real) == [
        ("operator:audit:read", "sequence 77"),
        ("operator:audit:read", f"sequence {beyond}"),
        ("operator:record:read", "entity planets, id 7"),
        ("operator:changes:read", "entity planets"),
    ]
    assert await items(real, entity="planets") == [], "what is not mapped gets no index"


async def test_what_cannot_be_read_is_shown_as_that(real: httpx.AsyncClient, stores: Stores):
    await put_fact(stores)
    key = f"{stores.settings.namespace}:audit:"
    await stores.audit.xadd(f"{key}entries", {"entry": '{"type":"gossip"}'}, id="2-0")
    await stores.audit.incrby(f"{key}sequence", 1)
    await put_fact(stores)

    last, gossip, first = await items(real)

    assert [each["sequence"] for each in (last, gossip, first)] == [3, 2, 1]
    assert (gossip["kind"], gossip["at"], gossip["actor"]) == ("unreadable", None, None)
    assert gossip["text"].startswith("cannot be read: ")
    assert gossip["entry"]["text"] == '{"type":"gossip"}'
    assert [each["sequence"] for each in await items(real, kind="unreadable")] == [2]
    assert [each["sequence"] for each in await items(real, kind="fact", actor="ann")] == [3, 1]
    assert (await real.get(f"{AUDIT}/2")).json()["kind"] == "unreadable"


async def test_health_is_no_read(real: httpx.AsyncClient, stores: Stores):
    for path in ("/health/live", "/health/ready", "/v1/reconciliation/jobs", "/v1/reconciliation/runs"):
        await real.get(path)
    assert await items(real) == []


async def test_nothing_is_answered_while_the_audit_store_is_away(real: httpx.AsyncClient, stores: Stores):
    await stores.audit.aclose()
    stores.audit.connection_pool.connection_kwargs["port"] = 1
    for path in (AUDIT, f"{AUDIT}/1", "/v1/reconciliation/changes"):
        assert (await real.get(path)).status_code == 503
