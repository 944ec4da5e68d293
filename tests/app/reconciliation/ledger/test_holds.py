"""Holds, against real stores."""

from uuid import uuid4

import pytest

from app.audit.entries import Fact
from app.errors import ConflictError, InvalidInputError
from app.pages import encode_cursor
from app.reconciliation.deciding import decisions, history
from app.reconciliation.ledger import diffs, holds, suspects
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores
from tests.app.reconciliation.worlds import customer, put_document, put_row, row_of


def address(record: dict) -> holds.Address:
    return "customers", str(record["id"])


async def facts(stores: Stores) -> list[str]:
    rows = await stores.core.fetch("SELECT entry ->> 'name' AS name FROM audit_outbox ORDER BY position")
    return [row["name"] for row in rows if row["name"].startswith("operator:hold")]


async def drifted(stores: Stores) -> dict:
    ada = customer()
    await put_document(stores, "customers", ada | {"last_name": "King"})
    await put_row(stores, "customers", ada)
    return ada


async def look_at(stores: Stores, record: dict) -> None:
    await suspects.nominate(stores.core, "customers", [str(record["id"])], cause="test")
    await repairer_of(stores).run_due()


async def test_a_held_record_is_shown_and_left_alone_until_it_is_released(repairing: Stores) -> None:
    ada = await drifted(repairing)
    await holds.place(repairing, [address(ada)], by="test", reason="a legal matter")

    await look_at(repairing, ada)
    (diff,) = (await diffs.list_diffs(repairing)).items
    assert (diff.status, diff.reason) == ("open", "held: a legal matter")
    assert (await row_of(repairing, "customers", ada))["last_name"] == "Lovelace"

    await holds.release(repairing, [address(ada)], by="test", reason="settled")
    await repairer_of(repairing).run_due()
    (diff,) = (await diffs.list_diffs(repairing)).items
    assert diff.status == "repaired"
    assert (await row_of(repairing, "customers", ada))["last_name"] == "King"


async def test_a_second_hold_keeps_the_first_and_says_so(stores: Stores) -> None:
    one, other = customer(), customer()
    await holds.place(stores, [address(one)], by="ann", reason="first")

    again = await holds.place(stores, [address(one), address(other)], by="bob", reason="second")

    assert [(hold.key, hold.reason) for hold in again.placed] == [(str(other["id"]), "second")]
    assert [(hold.reason, hold.placed_by) for hold in again.already_held] == [("first", "ann")]
    assert await facts(stores) == [Fact.HOLD_PLACED, Fact.HOLD_PLACED]


async def test_one_record_in_two_spellings_is_held_once(stores: Stores) -> None:
    entity, key = address(customer())
    placed = await holds.place(stores, [(entity, key), (entity, key.upper())], by="test", reason="twice")
    assert [hold.key for hold in placed.placed] == [key]
    assert await holds.held(stores.core, entity, [key, "another"]) == {key: "twice"}


async def test_every_malformed_record_is_named_and_none_is_held(stores: Stores) -> None:
    records = [address(customer()), ("moons", "1"), ("customers", "1")]
    with pytest.raises(InvalidInputError) as refusal:
        await holds.place(stores, records, by="test", reason="no")
    assert [fault.where for fault in refusal.value.faults] == ["records/1/entity", "records/2/id"]
    assert (await holds.list_holds(stores)).items == []
    with pytest.raises(InvalidInputError):
        await holds.place(stores, [], by="test", reason="no")


async def test_releasing_what_is_not_held_releases_nothing(stores: Stores) -> None:
    one, other = customer(), customer()
    await holds.place(stores, [address(one)], by="test", reason="wait")

    with pytest.raises(ConflictError) as refusal:
        await holds.release(stores, [address(one), address(other)], by="test", reason="done")

    assert [fault.where for fault in refusal.value.faults] == [f"customers/{other['id']}"]
    assert [hold.key for hold in (await holds.list_holds(stores)).items] == [str(one["id"])]
    assert await facts(stores) == [Fact.HOLD_PLACED]
    assert await stores.core.fetchval("SELECT count(*) FROM suspects") == 0


async def test_holds_are_listed_page_by_page_newest_first(stores: Stores) -> None:
    first = [("customers", str(uuid4())) for _ in range(3)]
    await holds.place(stores, first, by="test", reason="together")
    await holds.place(stores, [("bookings", str(uuid4()))], by="test", reason="later")

    seen, cursor = [], None
    while True:
        page = await holds.list_holds(stores, limit=2, cursor=cursor)
        seen += [(hold.entity, hold.key) for hold in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen[0][0] == "bookings"
    assert sorted(seen[1:]) == sorted(first)
    assert [hold.reason for hold in (await holds.list_holds(stores, entity="bookings")).items] == ["later"]
    assert len((await holds.list_holds(stores, key=first[0][1])).items) == 1
    with pytest.raises(InvalidInputError):
        await holds.list_holds(stores, cursor="bm90IG91cnM")


async def test_the_story_of_a_record_tells_of_its_hold(stores: Stores) -> None:
    entity, key = address(customer())
    assert (await history.record(stores, entity, key)).hold is None
    await holds.place(stores, [(entity, key)], by="ann", reason="look here")
    hold = (await history.record(stores, entity, key)).hold
    assert (hold.reason, hold.placed_by, hold.undo_id) == ("look here", "ann", None)


async def test_the_diff_of_a_held_record_cannot_be_approved_but_rejected(repairing: Stores) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, ada)
    (diff,) = (await diffs.list_diffs(repairing)).items
    await holds.place(repairing, [address(ada)], by="test", reason="wait")

    with pytest.raises(ConflictError, match=r"held \(wait\): release it first"):
        await decisions.approve(repairing, [diff.id], side="document", by="test", reason="go")

    (rejected,) = await decisions.reject(repairing, [diff.id], by="test", reason="leave it")
    assert rejected.status == "rejected"


async def test_a_hold_that_is_released_while_it_is_placed_again_is_placed_anew(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = address(customer())
    await holds.place(stores, [one], by="ann", reason="first")
    real, turns = holds.place_in, []

    async def place_and_be_overtaken(*arguments, **options):
        placed = await real(*arguments, **options)
        if not turns:
            await holds.release(stores, [one], by="ann", reason="done")
        turns.append(placed)
        return placed

    monkeypatch.setattr(holds, "place_in", place_and_be_overtaken)
    placed = await holds.place(stores, [one], by="bob", reason="second")

    assert [(hold.key, hold.reason) for hold in placed.placed] == [(one[1], "second")]
    assert placed.already_held == []
    assert await facts(stores) == [Fact.HOLD_PLACED, Fact.HOLD_RELEASED, Fact.HOLD_PLACED]


@pytest.mark.parametrize("entity", ["customers", None])
async def test_holds_and_diffs_are_found_by_any_spelling_of_the_key(
    repairing: Stores, entity: str | None
) -> None:
    ada = await drifted(repairing)
    await look_at(repairing, ada)
    await holds.place(repairing, [address(ada)], by="ann", reason="first")
    typed = str(ada["id"]).upper()
    assert len((await holds.list_holds(repairing, entity=entity, key=typed)).items) == 1
    assert len((await diffs.list_diffs(repairing, entity=entity, key=typed)).items) == 1
    assert (await diffs.list_diffs(repairing, entity="launches", key=typed)).items == []


async def test_diffs_of_a_key_that_is_none_are_found_by_it(stores: Stores) -> None:
    await stores.core.execute(
        "INSERT INTO diffs (entity, key, cause, kind, status, fingerprint) "
        "VALUES ('customers', 'ODD', 'test', 'unreadable_key', 'in_review', 'ODD')"
    )
    assert len((await diffs.list_diffs(stores, entity="customers", key="ODD")).items) == 1


@pytest.mark.parametrize(
    "forged",
    [
        '["0001-01-01T00:00:00+14:00", "a", "b"]',
        '["2026-01-01T00:00:00+00:00", "\\ud800", "b"]',
        '["2026-01-01T00:00:00+00:00", "a", "\\u0000"]',
        "[" * 40_000,
        '{"a": 1}',
    ],
)
async def test_a_forged_cursor_is_refused(stores: Stores, forged: str) -> None:
    with pytest.raises(InvalidInputError, match="malformed cursor"):
        await holds.list_holds(stores, cursor=encode_cursor(forged))
