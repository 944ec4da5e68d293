"""A person is forgotten over HTTP: from the repair of their record to a record of it that nobody can read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from redis import Redis

import web.erasures
from actors.letters import DeadLetters
from app.audit.outbox import relay
from app.audit.sealing.keys import Keyring
from app.audit.sealing.proofs import prove
from app.audit.sealing.sealer import Sealer
from app.audit.sealing.stream import Stream
from app.audit.store import AuditStore
from app.audit.verification.report import Report
from app.audit.verification.seals import read_keys
from app.audit.verification.stores import open_evidence
from app.audit.verification.walk import verify
from app.reconciliation.deciding import undo
from app.reconciliation.ledger import jobs, suspects
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores, open_redis
from tests.app.reconciliation.worlds import customer, put_document, put_row

NOBODY = "01938f6e-0000-7000-8000-000000000000"
ERASURES = "/v1/audit/erasures"
BASE = "/v1/reconciliation"
NAMES = ("Planted", "Elsewhere", "planted@personal.example", "Formerly")


@pytest.fixture(autouse=True)
def letters(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadLetters]:
    """The dead letters of the broker of this test."""
    with Redis.from_url(stores.settings.url("broker_url")) as redis:
        made = DeadLetters(redis, stores.settings.namespace)
        monkeypatch.setattr(web.erasures, "letters", lambda: made)
        yield made


@pytest.fixture
async def person(stores: Stores) -> dict[str, Any]:
    """A customer whose last name and city were repaired."""
    await jobs.ensure_jobs(stores.core)
    await jobs.change_job(stores, "customers-incremental", repairs=True, by="test", reason="test")
    known = customer(last_name="Formerly", city="Elsewhere", email="planted@personal.example")
    await put_row(stores, "customers", known)
    await put_document(stores, "customers", known | {"last_name": "Planted"})
    await repair(stores, known)
    return known


async def repair(stores: Stores, record: dict[str, Any]) -> None:
    await suspects.nominate(stores.core, "customers", [str(record["id"])], cause="test")
    await repairer_of(stores).run_due()


async def verdict(stores: Stores) -> Report:
    async with open_evidence(stores.settings) as evidence:
        return await verify(evidence, read_keys(stores.settings.public_keys))


async def folder_of(stores: Stores) -> Path:
    """Where the audit store has its files."""
    async with open_redis(stores.settings.url("audit_retention_url")) as redis:
        return Path((await redis.config_get("dir"))["dir"])


def content_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*.aof"))


async def test_from_repair_to_oblivion(
    real: httpx.AsyncClient, stores: Stores, person: dict[str, Any], woken: list[Any]
) -> None:
    key = str(person["id"])
    story = (await real.get(f"{BASE}/records/customers/{key}")).json()
    (change,) = story["changes"]
    assert (change["before"]["last_name"], change["after"]["last_name"]) == ("Formerly", "Planted")
    assert change["erased"] == []
    keys = Keyring.of(stores.settings)
    stream = Stream.of(stores.audit, stores.settings.namespace)
    assert keys
    await Sealer(stores.core, stream, keys).seal_new()

    seen = await real.post(f"{ERASURES}/preview", json={"person": key.upper()})
    assert seen.status_code == 200
    assert (seen.json()["changes"], seen.json()["diffs"], seen.json()["document"]) == (1, 1, True)
    answer = await real.post(ERASURES, json={"person": key, "reason": "asked"})
    assert (answer.status_code, answer.json()) == (201, seen.json())
    assert woken == ["repairs"]
    again = await real.post(ERASURES, json={"person": key, "reason": "asked"})
    assert (again.status_code, again.json()["key"], again.json()["changes"]) == (200, False, 0)

    text = (await real.get(f"{BASE}/records/customers/{key}")).text
    story = msgspec.json.decode(text)
    (change,), (diff,) = story["changes"], story["diffs"]
    assert "last_name" in change["erased"]
    assert "last_name" not in change["after"]
    assert diff["erased_at"]
    kept = {name: value for name, value in story.items() if name not in {"document", "relational"}}
    assert [name for name in NAMES if name in str(kept)] == []
    entries = (await real.get("/v1/audit", params={"entity": "customers", "id": key, "kind": "intent"})).text
    assert [name for name in NAMES if name in entries] == []
    (intent,) = msgspec.json.decode(entries)["items"]
    assert intent["text"].startswith(
        f"about to update customers {key} on the relational side (last_name), values erased"
    )

    refused = await real.post(f"{BASE}/undos", json={"change_ids": [change["id"]], "reason": "x"})
    assert refused.status_code == 409
    assert "the person was forgotten" in refused.json()["detail"]
    several = await real.post(f"{BASE}/undos/preview", json={"change_ids": [change["id"]] * 2})
    assert several.status_code == 409, "it is one change"

    report = await verdict(stores)
    assert (report.ok, report.erased_entries, report.erased_persons) == (True, 1, 1)

    await stores.customer.customers.update_one({"_id": person["id"]}, {"$set": {"first_name": "Returned"}})
    await repair(stores, person)
    later, earlier = (await real.get(f"{BASE}/changes", params={"entity": "customers", "id": key})).json()[
        "items"
    ]
    assert (later["after"]["first_name"], later["erased"]) == ("Returned", [])
    assert earlier["erased"]


async def test_no_value_of_a_person_lies_in_the_store_its_files_or_a_proof(
    stores: Stores, person: dict[str, Any]
) -> None:
    audit, stream = AuditStore.of(stores), Stream.of(stores.audit, stores.settings.namespace)
    (change,) = await audit.changes()
    keys = Keyring.of(stores.settings)
    assert keys
    await Sealer(stores.core, stream, keys).seal_new()
    proof = msgspec.json.encode(await prove(stores.core, audit, stream, change.intent.id))
    files = content_of(await folder_of(stores))
    assert str(person["id"]).encode() in files, "they are what was meant"
    for name in NAMES:
        assert name.encode() not in files
        assert name.encode() not in proof


async def test_the_fact_is_found_by_its_name_and_with_the_record(
    real: httpx.AsyncClient, stores: Stores, person: dict[str, Any]
) -> None:
    key = str(person["id"])
    await real.post(ERASURES, json={"person": key})
    await relay(stores.core, AuditStore.of(stores))
    for filters in ({"name": "operator:person:forget"}, {"entity": "customers", "id": key, "kind": "fact"}):
        (fact,) = (await real.get("/v1/audit", params=filters)).json()["items"]
        assert fact["text"] == f"client:operator had customers/{key} forgotten: no reason given"


async def test_of_many_changes_only_the_forgotten_ones_are_refused(
    real: httpx.AsyncClient, stores: Stores, person: dict[str, Any]
) -> None:
    other = customer()
    await put_row(stores, "customers", other)
    await put_document(stores, "customers", other | {"city": "Paris"})
    await repair(stores, other)
    await real.post(ERASURES, json={"person": str(person["id"])})
    changes = [each["id"] for each in (await real.get(f"{BASE}/changes")).json()["items"]]
    started = await real.post(f"{BASE}/undos", json={"change_ids": changes, "reason": "x"})
    assert started.status_code == 202
    undo_id = started.json()["id"]
    await undo.carry_out(stores, UUID(undo_id))
    items = (await real.get(f"{BASE}/undos/{undo_id}/items")).json()["items"]
    assert sorted((each["status"], each["key"]) for each in items) == [
        ("refused", str(person["id"])),
        ("undone", str(other["id"])),
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"person": ""}, 422),
        ({"person": "ada"}, 422),
        ({"person": NOBODY, "reason": " "}, 422),
        ({"person": NOBODY, "entity": "launches"}, 422),
        ({"person": NOBODY, "entity": "nobody"}, 404),
        ({"person": NOBODY, "everything": True}, 422),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused(
    real: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    answer = await real.post(ERASURES, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_without_the_broker_nothing_is_erased(
    real: httpx.AsyncClient, stores: Stores, person: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = DeadLetters(Redis.from_url("redis://127.0.0.1:1"), "t")
    monkeypatch.setattr(web.erasures, "letters", lambda: away)
    assert (await real.post(ERASURES, json={"person": str(person["id"])})).status_code == 503
    assert await stores.core.fetchval("SELECT count(*) FROM person_keys WHERE key IS NOT NULL") == 1
