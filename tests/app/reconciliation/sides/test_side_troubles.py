"""Conditional writes that meet others, come late or get no answer, against real stores."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, ClientBulkWriteException, OperationFailure

from app.clock import now
from app.reconciliation.mapping import Authority, Field, Kind, Mapping, Missing, Side
from app.reconciliation.resolve import Action, Plan
from app.reconciliation.sides.ports import ABSENT, Write, Written
from app.reconciliation.sides.records import EntitySides, entity_sides
from app.stores.connections import Stores
from tests.app.reconciliation.sides.side_writes import (
    APPLIED,
    BOTH,
    LATER,
    REJECTED,
    SUPERSEDED,
    UNTIL,
    city_of,
    create,
    move,
    outcomes,
    read_each,
    whole,
    write,
)
from tests.app.reconciliation.worlds import (
    LONG_AGO,
    customer,
    put_both,
    put_document,
    put_row,
)


@BOTH
async def test_of_two_that_write_the_same_records_each_is_written_by_one(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    for action in Action:
        await race(stores, customers, side, action)


async def race(stores: Stores, customers: EntitySides, side: Side, action: Action) -> None:
    records = [customer() for _ in range(60)]
    readings = [ABSENT] * 60
    if action is not Action.CREATE:
        await customers.side(side).write([create(side, each) for each in records], until=UNTIL)
        readings = await read_each(customers, side, records)

    def batch(city: str) -> list[Write]:
        values = {Action.CREATE: whole(customer(city=city)), Action.UPDATE: {"address.city": city}}
        return [
            Write(str(each["id"]), Plan(side, action, {**values.get(action, {})}, {}), reading, LATER)
            for each, reading in zip(records, readings, strict=True)
        ]

    one, other = batch("Paris"), batch("Rome")
    if action is Action.CREATE:
        for batch_of in (one, other):
            for each in batch_of:
                each.plan.values["email"] = f"{each.key}@example.com"
    ours, theirs = await asyncio.gather(
        customers.side(side).write(one, until=UNTIL), customers.side(side).write(other[::-1], until=UNTIL)
    )

    for record, mine, yours in zip(records, ours, theirs[::-1], strict=True):
        assert sorted(filter(None, outcomes([mine, yours]))) == [APPLIED, SUPERSEDED]
        written = None if action is Action.REMOVE else "Paris" if mine == Written(APPLIED) else "Rome"
        assert await city_of(stores, side, record) == written


async def test_a_row_that_its_owner_is_changing_holds_up_nobody(
    stores: Stores, customers: EntitySides
) -> None:
    busy, leaving, still = (customer() for _ in range(3))
    for each in (busy, leaving, still):
        await put_row(stores, "customers", each)
    readings = await read_each(customers, Side.RELATIONAL, (busy, leaving, still))
    async with stores.admin.acquire() as owner, owner.transaction():
        await owner.execute("UPDATE customers SET city = 'Rome' WHERE id = $1", busy["id"])
        await owner.execute("SELECT FROM customers WHERE id = $1 FOR KEY SHARE", leaving["id"])
        async with asyncio.timeout(2):
            results = await customers.relational.write(
                [
                    write(Side.RELATIONAL, busy, Action.UPDATE, readings[0], address__city="Paris"),
                    write(Side.RELATIONAL, leaving, Action.REMOVE, readings[1]),
                    write(Side.RELATIONAL, still, Action.UPDATE, readings[2], address__city="Paris"),
                ],
                until=UNTIL,
            )

    assert outcomes(results) == [SUPERSEDED, SUPERSEDED, APPLIED]
    assert await city_of(stores, Side.RELATIONAL, busy) == "Rome"
    assert await city_of(stores, Side.RELATIONAL, leaving) == "London"


@BOTH
async def test_a_write_that_comes_too_late_is_superseded(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    moving, leaving = customer(), customer()
    for each in (moving, leaving):
        await put_both(stores, "customers", each)
    readings = await read_each(customers, side, (moving, leaving))

    results = await customers.side(side).write(
        [
            write(side, moving, Action.UPDATE, readings[0], address__city="Paris"),
            write(side, leaving, Action.REMOVE, readings[1]),
        ],
        until=now() - timedelta(milliseconds=5),
    )

    assert outcomes(results) == [SUPERSEDED, SUPERSEDED]
    assert (await city_of(stores, side, moving), await city_of(stores, side, leaving)) == ("London", "London")


async def test_a_row_is_not_created_too_late(customers: EntitySides) -> None:
    late = [create(Side.RELATIONAL, customer())]
    assert outcomes(await customers.relational.write(late, until=LONG_AGO)) == [SUPERSEDED]


async def test_when_the_connection_is_lost_nothing_is_known(stores: Stores, customers: EntitySides) -> None:
    ada, bob = customer(), customer()
    await put_row(stores, "customers", ada)
    (reading,) = await read_each(customers, Side.RELATIONAL, [ada])
    async with stores.admin.acquire() as owner, owner.transaction():
        await owner.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
        writing = asyncio.create_task(
            customers.relational.write(
                [
                    write(Side.RELATIONAL, ada, Action.UPDATE, reading, address__city="Paris"),
                    create(Side.RELATIONAL, bob),
                ],
                until=UNTIL,
            )
        )
        cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
        while not await owner.fetch(cut):  # noqa: ASYNC110  (another process is waited for)
            await asyncio.sleep(0.01)
        assert await writing == [None, None]
    assert await city_of(stores, Side.RELATIONAL, ada) == "London"


class Client:
    """A client whose bulk write ends as a test wants it, after it was carried out or instead."""

    def __init__(self, stores: Stores, end: Any) -> None:
        self._bulk_write = stores.customer.client.bulk_write
        self._end = end

    async def bulk_write(self, models: Sequence[Any], **options: Any) -> None:
        result = await self._bulk_write(models, **options)
        raise self._end(result) if callable(self._end) else self._end


def failed(result: Any, *, known: int, **details: Any) -> ClientBulkWriteException:
    """The exception of a bulk write of which the first `known` results arrived."""
    found = {
        name: {at: each for at, each in getattr(result, of).items() if at < known}
        for name, of in (
            ("insertResults", "insert_results"),
            ("updateResults", "update_results"),
            ("deleteResults", "delete_results"),
        )
    }
    plain = {"error": None, "writeErrors": [], "writeConcernErrors": [], "anySuccessful": known > 0}
    return ClientBulkWriteException(plain | found | details, verbose=True)


ENDS = {
    "no answer": (AutoReconnect("gone"), [None, None, None]),
    "no results": (lambda result: failed(result, known=0, error=AutoReconnect("gone")), [None, None, None]),
    "some results": (
        lambda result: failed(result, known=2, error=AutoReconnect("gone")),
        [SUPERSEDED, APPLIED, None],
    ),
    "a primary that stepped down": (
        lambda result: failed(result, known=2, writeErrors=[{"idx": 2, "code": 11602, "op": {}}]),
        [SUPERSEDED, APPLIED, None],
    ),
    "no right": (OperationFailure("not authorized", 13), [REJECTED] * 3),
    "no right, told with the results": (
        lambda result: failed(result, known=0, error=OperationFailure("not authorized", 13)),
        [REJECTED] * 3,
    ),
    "results that cannot be fetched": (
        lambda result: failed(result, known=2, error=OperationFailure("no such cursor", 43)),
        [SUPERSEDED, APPLIED, None],
    ),
    "a shutdown": (OperationFailure("shutting down", 91), [None] * 3),
    "no majority": (
        lambda result: failed(result, known=3, writeConcernErrors=[{"code": 64}]),
        [SUPERSEDED, None, None],
    ),
}


async def test_only_what_the_document_side_told_for_good_is_known(
    stores: Stores, customers: EntitySides, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (end, expected) in ENDS.items():
        edited, moving, coming = (customer() for _ in range(3))
        for each in (edited, moving):
            await put_document(stores, "customers", each)
        readings = await read_each(customers, Side.DOCUMENT, (edited, moving))
        await move(stores, Side.DOCUMENT, edited, "Rome")

        with monkeypatch.context() as patched:
            patched.setattr(stores.customer.client, "bulk_write", Client(stores, end).bulk_write)
            results = await customers.document.write(
                [
                    write(Side.DOCUMENT, edited, Action.UPDATE, readings[0], address__city="Paris"),
                    write(Side.DOCUMENT, moving, Action.UPDATE, readings[1], address__city="Paris"),
                    create(Side.DOCUMENT, coming),
                ],
                until=UNTIL,
            )

        assert outcomes(results) == expected, name


TROUBLES = {
    "P0001": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.city = 'bad' THEN RAISE 'no'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "54000": "CREATE INDEX ON customers (country)",
}


@pytest.mark.parametrize("state", list(TROUBLES))
async def test_a_row_that_is_refused_for_any_reason_holds_up_no_other(
    stores: Stores, customers: EntitySides, state: str
) -> None:
    await stores.admin.execute(TROUBLES[state])
    good = [customer() for _ in range(5)]
    long = "".join(chr(0x4E00 + at * 7919 % 20000) for at in range(20000))
    batch = [*good, customer(city="bad", country=long)]

    results = await customers.relational.write([create(Side.RELATIONAL, each) for each in batch], until=UNTIL)

    assert outcomes(results) == [APPLIED] * 5 + [REJECTED]
    assert f"SQLSTATE {state}" in str(results[-1])
    assert [await city_of(stores, Side.RELATIONAL, each) for each in batch] == ["London"] * 5 + [None]


async def test_a_row_in_trouble_that_passes_is_not_refused(stores: Stores, customers: EntitySides) -> None:
    await stores.admin.execute(TROUBLES["P0001"].replace("RAISE 'no'", "RAISE 'no' USING ERRCODE = '53100'"))
    results = await customers.relational.write([create(Side.RELATIONAL, customer(city="bad"))], until=UNTIL)
    assert results == [None]


EDITS = {
    "a value": {"first_name": ["Ada", "Eve"]},
    "nothing": {"contact_number": [None, "1"]},
    "a subdocument": {
        "address": [{"street": "1 Square", "city": "London", "postal_code": "SW1", "country": "UK"}]
    },
}


@pytest.mark.parametrize("what", list(EDITS))
@pytest.mark.parametrize("action", [Action.UPDATE, Action.REMOVE])
async def test_what_became_an_array_is_not_what_was_read(
    stores: Stores, customers: EntitySides, what: str, action: Action
) -> None:
    ada = customer(contact_number=None)
    await put_document(stores, "customers", ada)
    readings = await read_each(customers, Side.DOCUMENT, [ada])
    await stores.customer["customers"].update_one({"_id": ada["id"]}, {"$set": EDITS[what]})
    values = {"last_name": "Byron"} if action is Action.UPDATE else {}

    results = await customers.document.write(
        [write(Side.DOCUMENT, ada, action, readings[0], **values)], until=UNTIL
    )

    assert outcomes(results) == [SUPERSEDED]
    left = await stores.customer["customers"].find_one({"_id": ada["id"]})
    assert left is not None
    assert left["last_name"] == "Lovelace"


ADDRESSES = {
    "null": ({"$set": {"address": None}}, APPLIED),
    "gone": ({"$unset": {"address": 1}}, APPLIED),
    "an array": ({"$set": {"address": [{"city": "Rome"}]}}, REJECTED),
    "text": ({"$set": {"address": "Rome"}}, REJECTED),
}


@pytest.mark.parametrize("what", list(ADDRESSES))
async def test_a_field_is_set_where_its_subdocument_is_null_and_refused_where_it_is_something_else(
    stores: Stores, customers: EntitySides, what: str
) -> None:
    edit, expected = ADDRESSES[what]
    ada = customer()
    await put_document(stores, "customers", ada)
    await stores.customer["customers"].update_one({"_id": ada["id"]}, edit)
    (reading,) = await read_each(customers, Side.DOCUMENT, [ada])
    values = {"address__city": "Paris", "address__country": "FR", "last_name": "Byron"}
    change = [write(Side.DOCUMENT, ada, Action.UPDATE, reading, **values)]

    results = await customers.document.write(change, until=UNTIL)

    assert outcomes(results) == [expected]
    left = await stores.customer["customers"].find_one({"_id": ada["id"]})
    assert left is not None
    if expected is APPLIED:
        assert (left["address"], left["last_name"]) == ({"city": "Paris", "country": "FR"}, "Byron")
    else:
        assert "address is no subdocument" in str(results)
        assert left["last_name"] == "Lovelace"


async def test_a_subdocument_that_came_since_is_not_overwritten(
    stores: Stores, customers: EntitySides
) -> None:
    ada = customer()
    await put_document(stores, "customers", ada)
    kept = stores.customer["customers"]
    await kept.update_one({"_id": ada["id"]}, {"$set": {"address": None}})
    (reading,) = await read_each(customers, Side.DOCUMENT, [ada])
    await kept.update_one({"_id": ada["id"]}, {"$set": {"address": {"door": 5}}})

    results = await customers.document.write(
        [write(Side.DOCUMENT, ada, Action.UPDATE, reading, address__city="Paris")], until=UNTIL
    )

    assert outcomes(results) == [SUPERSEDED]
    assert (await kept.find_one({"_id": ada["id"]}) or {})["address"] == {"door": 5}


@BOTH
async def test_a_key_that_no_store_can_hold_is_not_there(stores: Stores, side: Side) -> None:
    await stores.admin.execute("CREATE TABLE notes (id text PRIMARY KEY, body text, updated_at timestamptz)")
    await stores.admin.execute("INSERT INTO notes VALUES ('good', 'text', now())")
    await stores.customer["notes"].insert_one({"_id": "good", "body": "text"})
    notes = Mapping(
        entity="notes",
        collection="notes",
        table="notes",
        key_kind=Kind.TEXT,
        missing_document=Missing.REVIEW,
        missing_relational=Missing.CREATE,
        fields=(Field("body", Kind.TEXT, Authority(Side.DOCUMENT)),),
    )
    own = entity_sides(stores, notes).side(side)

    assert await own.existing(["good", "a\0b"]) == {"good"}
    assert set(await own.read(["good", "a\0b"])) == {"good"}
