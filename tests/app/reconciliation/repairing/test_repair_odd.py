"""Records that hold what nobody thought of: shown to operators, and never in the way of others."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from bson.binary import UUID_SUBTYPE, Binary
from loguru import logger

from app.errors import ConflictError
from app.reconciliation import mapping as registry
from app.reconciliation.deciding import decisions, history
from app.reconciliation.ledger import diffs, jobs, runs, suspects
from app.reconciliation.mapping import Authority, Field, Mapping, Missing, Side
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution
from app.reconciliation.values import Kind
from app.stores.connections import Stores
from tests.app.reconciliation.interposed import Way, interpose
from tests.app.reconciliation.repairing.repair_steps import look_at, only_diff
from tests.app.reconciliation.running.run_steps import compared
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
        await compared(repairing, "customers")
        await repairer_of(repairing).run_due()
    page = await diffs.list_diffs(repairing, entity="customers")
    assert [(diff.kind, diff.status) for diff in page.items] == [("unreadable_key", "in_review")]
    with pytest.raises(ConflictError, match="correct that"):
        await decisions.approve(repairing, [page.items[0].id], side="document", by="test", reason="none")

    await repairing.customer["customers"].delete_one({"_id": 5})
    await compared(repairing, "customers")
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
        refused = {key for key in keys[:4] if not await can_approve(stores, found[key].id, side)}
        assert refused == {"3", "4"}, "what is missing on a side cannot come from several"
        await suspects.nominate(stores.core, "cards", keys, cause="test")
        await repairer_of(stores).run_due()
    held = [tuple(row)[:3] for row in await stores.admin.fetch("SELECT * FROM cards ORDER BY n")]
    assert sorted(held) == sorted([*rows[:-1], (5, "new", "r")])
    assert (
        sorted([(each["n"], each["a"], each["b"]) async for each in stores.customer["cards"].find()])
        == documents
    )


async def can_approve(stores: Stores, diff_id: UUID, side: Side) -> bool:
    try:
        await decisions.approve(stores, [diff_id], side=side, by="test", reason="test")
    except ConflictError:
        return False
    return True


def broken_read(key: str) -> Way:
    """Reading a side that holds something nobody thought of: it raises."""

    async def read(real, keys):
        if key in keys:
            raise ZeroDivisionError
        return await real(keys)

    return read


async def test_a_record_that_breaks_the_look_itself_is_shown_and_holds_up_nobody(repairing: Stores) -> None:
    ada, bob = customer(), customer()
    for each in (ada, bob):
        await put_document(repairing, "customers", each | {"city": "Rome"})
        await put_row(repairing, "customers", each)
    logged: list[str] = []
    sink = logger.add(logged.append, format="{message} {extra}", level="ERROR")
    repairer = repairer_of(repairing)
    interpose(repairer.sides, "customers", "document", read=broken_read(str(ada["id"])))
    await suspects.nominate(
        repairing.core, "customers", [str(each["id"]) for each in (ada, bob)], cause="test"
    )
    await repairer.run_due()
    logger.remove(sink)

    (first, second) = logged
    assert first.startswith("batch.refused {'entity': 'customers', 'records': 2}")
    assert "ZeroDivisionError" in first
    assert second.startswith("record.refused")
    assert "ZeroDivisionError" in str((await only_diff(repairing, "customers", ada)).reason)
    assert (await row_of(repairing, "customers", bob))["city"] == "Rome"
    assert await repairing.core.fetchval("SELECT count(*) FROM suspects") == 0


GAUGES = replace(
    CARDS,
    entity="gauges",
    collection="gauges",
    table="gauges",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.REMOVE,
    fields=(
        Field("a", Kind.TEXT, Authority(Side.DOCUMENT)),
        Field("b", Kind.INTEGER, Authority(Side.RELATIONAL), relational="100 / gauges.b::integer"),
    ),
)


async def test_a_row_at_which_a_mapped_expression_fails_is_shown_alone_and_not_quoted(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._registry, "gauges", GAUGES)
    await jobs.ensure_jobs(stores.core)
    await jobs.change_job(stores, "gauges-incremental", repairs=True, by="test", reason="test")
    await stores.admin.execute("CREATE TABLE gauges (n bigint, a text, b text, updated_at timestamptz)")
    rows = [(1, "old", "5"), (2, "old", "secret"), (3, "old", "0")]
    await stores.admin.executemany("INSERT INTO gauges VALUES ($1, $2, $3)", rows)
    await stores.customer["gauges"].insert_many({"n": n, "a": "new", "b": 20} for n, _a, _b in rows)
    logged: list[str] = []
    sink = logger.add(logged.append, level="DEBUG", backtrace=False, diagnose=False)

    await suspects.nominate(stores.core, "gauges", ["1", "2", "3"], cause="test")
    await repairer_of(stores).run_due()
    logger.remove(sink)

    assert await stores.admin.fetchval("SELECT a FROM gauges WHERE n = 1") == "new"
    found = {each.key: each for each in (await diffs.list_diffs(stores, entity="gauges")).items}
    assert {key: each.status for key, each in found.items()} == {
        "1": "repaired",
        "2": "in_review",
        "3": "in_review",
    }
    assert "SQLSTATE 22P02" in str(found["2"].reason)
    assert "SQLSTATE 22012" in str(found["3"].reason)
    assert "secret" not in "".join(logged) + str(found)
    with pytest.raises(ConflictError, match="SQLSTATE 22P02"):
        await history.record(stores, "gauges", "2")
    assert await stores.core.fetchval("SELECT count(*) FROM suspects") == 0


async def test_watermarks_pass_over_keys_that_nothing_can_address(repairing: Stores) -> None:
    odd = {"first_name": "Odd", "email": "odd@example.com", "updated_at": datetime.now(UTC)}
    await repairing.customer["customers"].insert_one(odd)  # with an ObjectId
    run = await runs.start_run(repairing, "customers", mode="incremental", by="test")
    await execution.begin(repairing, run.id)
    assert (await runs.get_run(repairing, run.id)).status == "done"
