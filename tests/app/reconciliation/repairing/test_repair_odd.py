"""Records that hold what nobody thought of: shown to operators, and never in the way of others."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from bson.binary import UUID_SUBTYPE, Binary

from app.errors import ConflictError
from app.reconciliation import mapping as registry
from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import diffs, jobs, runs, suspects
from app.reconciliation.mapping import Authority, Field, Mapping, Missing, Side
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution
from app.reconciliation.values import Kind
from app.stores.connections import Stores
from tests.app.reconciliation.repairing.repair_steps import look_at, only_diff
from tests.app.reconciliation.worlds import (
    customer,
    put_both,
    put_document,
    put_row,
    row_of,
)


async def test_an_unreadable_value_on_the_right_side_is_for_an_operator(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"first_name": 5})
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    assert (await only_diff(repairing, "customers", ada)).status == "in_review"
    assert (await row_of(repairing, "customers", ada))["first_name"] == "Ada"


@pytest.mark.parametrize("address", ["no subdocument", ["London"], 5])
async def test_an_address_that_is_no_subdocument_is_never_equal(repairing: Stores, address) -> None:
    ada = customer(street=None, city=None, postal_code=None, country=None)
    await put_document(repairing, "customers", ada)
    await repairing.customer["customers"].update_one({"_id": ada["id"]}, {"$set": {"address": address}})
    whole = dict.fromkeys(("street", "city", "postal_code", "country"), "")
    await put_row(repairing, "customers", ada | whole)

    await look_at(repairing, "customers", ada)

    assert (await only_diff(repairing, "customers", ada)).status == "in_review"


async def test_a_document_that_no_client_can_decode_goes_to_review_and_holds_up_nobody(
    repairing: Stores,
) -> None:
    broken, ada = customer(), customer()
    await put_both(repairing, "customers", broken)
    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await put_row(repairing, "customers", ada)
    cut_short = Binary(b"1234", UUID_SUBTYPE)
    await repairing.customer["customers"].update_one(
        {"_id": broken["id"]}, {"$set": {"contact_number": cut_short}}
    )

    await look_at(repairing, "customers", broken, ada)

    assert (await only_diff(repairing, "customers", broken)).status == "in_review"
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


async def test_a_key_of_another_kind_is_shown_to_operators_and_never_claimed(repairing: Stores) -> None:
    odd = {"_id": 5, "first_name": "Odd", "email": "odd@example.com"}
    await repairing.customer["customers"].insert_one(odd)
    for _ in range(2):
        run = await runs.start_run(repairing, "customers", by="test")
        for call in await execution.begin(repairing, run.id):
            await execution.compare(repairing, run.id, call.number)
        await repairer_of(repairing).run_due()
    page = await diffs.list_diffs(repairing, entity="customers")
    assert [(diff.kind, diff.status) for diff in page.items] == [("unreadable_key", "in_review")]
    with pytest.raises(ConflictError, match="correct that"):
        await decisions.approve(repairing, [page.items[0].id], side="document", by="test", reason="none")

    await repairing.customer["customers"].delete_one({"_id": 5})
    run = await runs.start_run(repairing, "customers", by="test")
    for call in await execution.begin(repairing, run.id):
        await execution.compare(repairing, run.id, call.number)
    page = await diffs.list_diffs(repairing, entity="customers")
    assert [diff.status for diff in page.items] == ["vanished"]


async def test_a_nul_character_is_refused_and_shown_and_holds_up_nobody(repairing: Stores) -> None:
    ada, bob = customer(), customer()
    await put_document(repairing, "customers", ada | {"city": "Par\0is"})
    await put_row(repairing, "customers", ada)
    await put_document(repairing, "customers", bob | {"city": "Rome"})
    await put_row(repairing, "customers", bob)

    await look_at(repairing, "customers", ada, bob)

    diff = await only_diff(repairing, "customers", ada)
    assert (diff.status, diff.fields[0].document) == ("in_review", "Par\u2400is")
    assert (await row_of(repairing, "customers", bob))["city"] == "Rome"


CARDS = Mapping(
    entity="cards",
    collection="cards",
    table="cards",
    key_kind=Kind.INTEGER,
    key_document="n",
    key_relational="n",
    missing_document=Missing.REMOVE,
    missing_relational=Missing.CREATE,
    fields=(
        Field("a", Kind.TEXT, Authority(Side.DOCUMENT)),
        Field("b", Kind.TEXT, Authority(Side.RELATIONAL)),
    ),
)


async def test_several_records_of_one_key_go_to_review_and_are_never_written(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._registry, "cards", CARDS)
    await jobs.ensure_jobs(stores.core)
    for mode in ("full", "incremental"):
        await jobs.change_job(stores, f"cards-{mode}", repairs=True, by="test", reason="test")
    await stores.admin.execute("CREATE TABLE cards (n bigint, a text, b text, updated_at timestamptz)")
    # Twice: 1 as rows, 2 as documents, 3 as rows alone (to be removed), 4 as documents alone (to be created).
    rows = [(1, "z", "r"), (1, "x", "r"), (2, "z", "s"), (3, "x", "r"), (3, "y", "r"), (5, "old", "r")]
    documents = [(1, "z", "r"), (2, "p", "r"), (2, "q", "r"), (4, "p", "r"), (4, "q", "r"), (5, "new", "r")]
    await stores.admin.executemany("INSERT INTO cards VALUES ($1, $2, $3)", rows)
    await stores.customer["cards"].insert_many({"n": n, "a": a, "b": b} for n, a, b in documents)
    keys = ["1", "2", "3", "4", "5"]
    await suspects.nominate(stores.core, "cards", keys, cause="test")
    await repairer_of(stores).run_due()

    found = {each.key: each for each in (await diffs.list_diffs(stores, entity="cards")).items}
    assert {key: each.status for key, each in found.items()} == dict.fromkeys(keys[:4], "in_review") | {
        "5": "repaired"
    }
    assert all("several records" in str(found[key].reason) for key in keys[:4])
    for side in Side:
        ids = [found[key].id for key in keys[:4]]
        with suppress(ConflictError):
            await decisions.approve(stores, ids, side=side, by="test", reason="test")
        await suspects.nominate(stores.core, "cards", keys, cause="test")
        await repairer_of(stores).run_due()
    held = [tuple(row)[:3] for row in await stores.admin.fetch("SELECT * FROM cards ORDER BY n")]
    assert sorted(held) == sorted([*rows[:-1], (5, "new", "r")])
    assert (
        sorted([(each["n"], each["a"], each["b"]) async for each in stores.customer["cards"].find()])
        == documents
    )


class Breaking:
    """A side that holds something nobody thought of: reading it raises."""

    def __init__(self, side, key: str) -> None:
        self._side = side
        self._key = key

    def __getattr__(self, name: str):
        return getattr(self._side, name)

    async def read(self, keys):
        if self._key in keys:
            raise ZeroDivisionError
        return await self._side.read(keys)


async def test_a_record_that_breaks_the_look_itself_is_shown_and_holds_up_nobody(repairing: Stores) -> None:
    ada, bob = customer(), customer()
    for each in (ada, bob):
        await put_document(repairing, "customers", each | {"city": "Rome"})
        await put_row(repairing, "customers", each)
    repairer = repairer_of(repairing)
    sides = repairer.sides["customers"]
    repairer.sides["customers"] = replace(sides, document=Breaking(sides.document, str(ada["id"])))
    await suspects.nominate(
        repairing.core, "customers", [str(each["id"]) for each in (ada, bob)], cause="test"
    )
    await repairer.run_due()

    assert "ZeroDivisionError" in str((await only_diff(repairing, "customers", ada)).reason)
    assert (await row_of(repairing, "customers", bob))["city"] == "Rome"
    assert await repairing.core.fetchval("SELECT count(*) FROM suspects") == 0


async def test_watermarks_pass_over_keys_that_nothing_can_address(repairing: Stores) -> None:
    odd = {"first_name": "Odd", "email": "odd@example.com", "updated_at": datetime.now(UTC)}
    await repairing.customer["customers"].insert_one(odd)  # with an ObjectId
    run = await runs.start_run(repairing, "customers", mode="incremental", by="test")
    await execution.begin(repairing, run.id)
    assert (await runs.get_run(repairing, run.id)).status == "done"
