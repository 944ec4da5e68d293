"""The sides of mappings of other teams: keys that are no UUIDs, converters, soft deletes, columns of any type."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.clock import now
from app.reconciliation.converters import codes, epoch_milliseconds, minor_units
from app.reconciliation.mapping import Authority, Converter, Field, Mapping, Missing, Side, SoftDelete
from app.reconciliation.resolve import SEVERAL, Action, Plan
from app.reconciliation.sides.ports import ABSENT, Reading, Write, Written
from app.reconciliation.sides.records import EntitySides, entity_sides
from app.reconciliation.values import Kind, Record, Unreadable
from app.stores.connections import Stores
from tests.app.reconciliation.sides.side_writes import APPLIED, BOTH, REJECTED, SUPERSEDED, UNTIL, outcomes

DOCUMENT = Authority(Side.DOCUMENT)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STATUS = codes({"C": "Confirmed", "X": "Cancelled"})
TABLE = """
CREATE DOMAIN short_name AS varchar(8) CHECK (VALUE <> 'forbidden');
CREATE TYPE berth AS ENUM ('window', 'aisle');
CREATE TABLE tickets (
    number integer PRIMARY KEY,
    holder short_name,
    status character(1),
    cents integer,
    at timestamp without time zone,
    on_day date,
    berth berth,
    weight numeric,
    changed_at timestamp without time zone,
    removed_at timestamptz
)
"""

TICKETS = Mapping(
    entity="tickets",
    collection="tickets",
    table="tickets",
    key_kind=Kind.INTEGER,
    key_document="number",
    key_relational="number",
    updated_at="changed_at",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.CREATE,
    fields=(
        Field("holder", Kind.TEXT, DOCUMENT),
        Field("status", Kind.TEXT, DOCUMENT, document_converter=codes({1: "Confirmed", 2: "Cancelled"}),
              relational_converter=STATUS),
        Field("price", Kind.DECIMAL, DOCUMENT, relational="cents", relational_converter=minor_units(2)),
        Field("at", Kind.TIMESTAMP, DOCUMENT, document="times.at", document_converter=epoch_milliseconds()),
        Field("on_day", Kind.DATE, DOCUMENT),
        Field("berth", Kind.TEXT, DOCUMENT),
        Field("weight", Kind.DECIMAL, DOCUMENT),
    ),
    document_deleted=SoftDelete("state.gone", Kind.BOOLEAN),
    relational_deleted=SoftDelete("removed_at"),
)  # fmt: skip
TICKET: Record = {
    "holder": "Ada",
    "status": "Confirmed",
    "price": Decimal("12.34"),
    "at": NOON,
    "on_day": date(2026, 2, 3),
    "berth": "window",
    "weight": Decimal("80.500"),
}


@pytest.fixture
async def tickets(stores: Stores) -> EntitySides:
    await stores.admin.execute(TABLE)
    await stores.customer["tickets"].create_index("number", unique=True)
    return entity_sides(stores, TICKETS)


def write(side: Side, number: int, action: Action, reading: Reading = ABSENT, **values: Any) -> Write:
    return Write(str(number), Plan(side, action, values, {}), reading, NOON)


async def created(sides: EntitySides, side: Side, *numbers: int) -> list[Reading]:
    writes = [write(side, each, Action.CREATE, **TICKET) for each in numbers]
    assert await sides.side(side).write(writes, until=UNTIL) == [Written(APPLIED)] * len(numbers)
    return await read_each(sides, side, *numbers)


async def read_each(sides: EntitySides, side: Side, *numbers: int) -> list[Reading]:
    found = await sides.side(side).read([str(each) for each in numbers])
    return [found[str(each)] for each in numbers]


async def row_of(stores: Stores, number: int) -> dict[str, Any]:
    row = await stores.admin.fetchrow("SELECT * FROM tickets WHERE number = $1", number)
    assert row is not None
    return dict(row)


async def document_of(stores: Stores, number: int) -> dict[str, Any]:
    document = await stores.customer["tickets"].find_one({"number": number})
    assert document is not None
    return document


async def test_converted_values_lie_in_the_stores_own_form_and_are_read_back(
    stores: Stores, tickets: EntitySides
) -> None:
    for side in Side:
        (reading,) = await created(tickets, side, 7)
        assert reading.record == TICKET
        assert reading.updated_at == NOON
    row, document = await row_of(stores, 7), await document_of(stores, 7)
    assert (row["status"], row["cents"], row["at"]) == ("C", 1234, NOON.replace(tzinfo=None))
    assert (document["status"], document["times"]) == (1, {"at": int(NOON.timestamp() * 1000)})


@BOTH
async def test_a_converted_field_is_updated_and_is_part_of_the_condition(
    stores: Stores, tickets: EntitySides, side: Side
) -> None:
    readings = await created(tickets, side, 1, 2)
    await stores.admin.execute("UPDATE tickets SET status = 'X' WHERE number = 2")
    await stores.customer["tickets"].update_one({"number": 2}, {"$set": {"status": 2}})

    results = await tickets.side(side).write(
        [
            write(side, number, Action.UPDATE, reading, price=Decimal("0.10"))
            for number, reading in enumerate(readings, start=1)
        ],
        until=UNTIL,
    )

    assert outcomes(results) == [APPLIED, SUPERSEDED]
    first, second = await read_each(tickets, side, 1, 2)
    assert first.record == TICKET | {"price": Decimal("0.10")}
    assert second.record == TICKET | {"status": "Cancelled"}


async def test_what_a_converter_cannot_convert_is_refused_alone_and_unreadable(
    stores: Stores, tickets: EntitySides
) -> None:
    readings = await created(tickets, Side.RELATIONAL, 1, 2, 3)
    odd: list[Record] = [{"price": Decimal("0.005")}, {"status": "Unheard of"}, {"price": Decimal("1E+12")}]

    results = await tickets.relational.write(
        [
            write(Side.RELATIONAL, number, Action.UPDATE, reading, **values)
            for number, (reading, values) in enumerate(zip(readings, odd, strict=True), start=1)
        ],
        until=UNTIL,
    )

    assert outcomes(results) == [REJECTED] * 3
    assert "price: minor_units(2) cannot convert" in str(results[0])
    assert "status: codes({'C'" in str(results[1]).replace("\\", "")
    assert [each.record for each in await read_each(tickets, Side.RELATIONAL, 1, 2, 3)] == [TICKET] * 3

    await stores.admin.execute("UPDATE tickets SET status = 'Z' WHERE number = 1")
    (reading,) = await read_each(tickets, Side.RELATIONAL, 1)
    assert reading.record == TICKET | {"status": Unreadable("str 'Z'")}


async def test_a_converter_that_does_not_give_back_what_it_took_writes_nothing(
    stores: Stores, tickets: EntitySides
) -> None:
    await created(tickets, Side.DOCUMENT, 1)
    lossy = Converter("upper", Kind.TEXT, read=lambda text: text, write=lambda text: str(text).upper())
    holder = replace(TICKETS.fields[0], document_converter=lossy)
    sides = entity_sides(stores, replace(TICKETS, fields=(holder, *TICKETS.fields[1:])))
    (reading,) = await read_each(sides, Side.DOCUMENT, 1)

    (result,) = await sides.document.write(
        [write(Side.DOCUMENT, 1, Action.UPDATE, reading, holder="Eve")], until=UNTIL
    )

    assert outcomes([result]) == [REJECTED]
    assert (await document_of(stores, 1))["holder"] == "Ada"


async def test_a_value_that_a_column_would_change_or_refuse_is_not_written(
    stores: Stores, tickets: EntitySides
) -> None:
    readings = await created(tickets, Side.RELATIONAL, 1, 2, 3, 4, 5, 6)
    odd: list[Record] = [
        {"holder": "longer than eight"},
        {"holder": "forbidden"},
        {"berth": "floor"},
        {"holder": 5},
        {"on_day": "tomorrow"},
        {"holder": "Eve"},
    ]

    results = await tickets.relational.write(
        [
            write(Side.RELATIONAL, number, Action.UPDATE, reading, **values)
            for number, (reading, values) in enumerate(zip(readings, odd, strict=True), start=1)
        ],
        until=UNTIL,
    )

    assert outcomes(results) == [REJECTED] * 5 + [APPLIED]
    told = str(results)
    assert "of holder (SQLSTATE 22001" in told
    assert "of berth (SQLSTATE 22P02" in told
    assert not [value for value in ("longer", "forbidden", "floor", "tomorrow") if value in told]
    assert [(await row_of(stores, number))["holder"] for number in range(1, 7)] == ["Ada"] * 5 + ["Eve"]


async def test_a_column_that_is_gone_is_named(stores: Stores, tickets: EntitySides) -> None:
    (reading,) = await created(tickets, Side.RELATIONAL, 1)
    await stores.admin.execute("ALTER TABLE tickets DROP COLUMN weight")
    (result,) = await tickets.relational.write(
        [write(Side.RELATIONAL, 1, Action.UPDATE, reading, holder="Eve")], until=UNTIL
    )
    assert outcomes([result]) == [REJECTED]
    assert "no column weight" in str(result)


async def test_decimals_of_any_length_keep_every_digit(stores: Stores, tickets: EntitySides) -> None:
    readings = await created(tickets, Side.RELATIONAL, 1, 2)
    long = [Decimal("1234567890.12345678901234567890123456789012345678901"), Decimal(10) ** 300 + 1]
    for turn in range(2):  # the second time, the long values are the condition
        results = await tickets.relational.write(
            [
                write(Side.RELATIONAL, number, Action.UPDATE, reading, weight=value + turn)
                for number, (reading, value) in enumerate(zip(readings, long, strict=True), start=1)
            ],
            until=UNTIL,
        )
        assert outcomes(results) == [APPLIED, APPLIED]
        readings = await read_each(tickets, Side.RELATIONAL, 1, 2)
        assert [each.record and each.record["weight"] for each in readings] == [each + turn for each in long]


@BOTH
async def test_removing_only_marks_and_creating_revives(
    stores: Stores, tickets: EntitySides, side: Side
) -> None:
    readings = await created(tickets, side, 1, 2)
    before = now()

    results = await tickets.side(side).write(
        [write(side, number, Action.REMOVE, reading) for number, reading in enumerate(readings, start=1)],
        until=UNTIL,
    )

    assert results == [Written(APPLIED)] * 2
    if side is Side.RELATIONAL:
        assert before <= (await row_of(stores, 1))["removed_at"] <= now()
    else:
        assert (await document_of(stores, 1))["state"] == {"gone": True}
    marked = await read_each(tickets, side, 1, 2)
    assert [each.record for each in marked] == [None, None]
    assert await tickets.side(side).existing(["1", "2"]) == set()

    results = await tickets.side(side).write(
        [write(side, 1, Action.CREATE, marked[0], **TICKET | {"holder": "Eve"})], until=UNTIL
    )

    assert results == [Written(APPLIED)]
    (revived,) = await read_each(tickets, side, 1)
    assert revived.record == TICKET | {"holder": "Eve"}
    assert await tickets.side(side).existing(["1", "2"]) == {"1"}
    if side is Side.RELATIONAL:
        assert (await row_of(stores, 1))["removed_at"] is None
    else:
        assert (await document_of(stores, 1))["state"] == {"gone": False}


@BOTH
async def test_the_marker_is_part_of_every_condition(
    stores: Stores, tickets: EntitySides, side: Side
) -> None:
    live = await created(tickets, side, 1, 2)
    await mark(stores, 1, 2)
    marked = await read_each(tickets, side, 1, 2)

    late = [
        write(side, 1, Action.UPDATE, live[0], holder="Eve"),
        write(side, 2, Action.REMOVE, live[1]),
    ]
    assert outcomes(await tickets.side(side).write(late, until=UNTIL)) == [SUPERSEDED, SUPERSEDED]

    await stores.admin.execute("UPDATE tickets SET removed_at = NULL")
    await stores.customer["tickets"].update_many({}, {"$unset": {"state": 1}})
    too_late = [write(side, 1, Action.CREATE, marked[0], **TICKET | {"holder": "Eve"})]
    assert outcomes(await tickets.side(side).write(too_late, until=UNTIL)) == [SUPERSEDED]
    assert [each.record for each in await read_each(tickets, side, 1, 2)] == [TICKET, TICKET]


@BOTH
async def test_creating_where_a_marked_record_turned_up_is_superseded(
    stores: Stores, tickets: EntitySides, side: Side
) -> None:
    await created(tickets, side, 1)
    await mark(stores, 1)
    results = await tickets.side(side).write([write(side, 1, Action.CREATE, **TICKET)], until=UNTIL)
    assert outcomes(results) == [SUPERSEDED]


@BOTH
async def test_marked_records_refer_to_nothing(stores: Stores, tickets: EntitySides, side: Side) -> None:
    await created(tickets, side, 1, 2)
    await mark(stores, 1)
    assert set(await tickets.side(side).read_referring("holder", ["Ada", "Eve"])) == {"2"}


async def mark(stores: Stores, *numbers: int) -> None:
    await stores.admin.execute("UPDATE tickets SET removed_at = now() WHERE number = ANY($1)", numbers)
    await stores.customer["tickets"].update_many(
        {"number": {"$in": numbers}}, {"$set": {"state": {"gone": True}}}
    )


async def test_the_ends_of_time_are_refused_alone_for_they_would_become_infinities(
    stores: Stores, tickets: EntitySides
) -> None:
    readings = await created(tickets, Side.RELATIONAL, 1, 2, 3)
    odd: list[Record] = [
        {"on_day": date.max},
        {"at": datetime.min.replace(tzinfo=UTC)},
        {"on_day": date(9999, 12, 30)},
    ]
    writes = [
        write(Side.RELATIONAL, number, Action.UPDATE, reading, **values)
        for number, (reading, values) in enumerate(zip(readings, odd, strict=True), start=1)
    ]
    results = await tickets.relational.write(writes, until=UNTIL)

    assert outcomes(results) == [REJECTED, REJECTED, APPLIED]
    assert "infinity" in str(results[0])
    await stores.admin.execute("UPDATE tickets SET on_day = 'infinity', at = '-infinity' WHERE number = 1")
    (reading,) = await read_each(tickets, Side.RELATIONAL, 1)
    assert reading.record
    assert all(isinstance(reading.record[name], Unreadable) for name in ("on_day", "at"))


@pytest.fixture
async def loose(stores: Stores, tickets: EntitySides) -> EntitySides:
    """Sides that hold several records of one key."""
    await stores.admin.execute("ALTER TABLE tickets DROP CONSTRAINT tickets_pkey")
    await stores.customer["tickets"].drop_index("number_1")
    return tickets


async def put(stores: Stores, side: Side, number: int, holder: str, *, gone: bool = False) -> None:
    if side is Side.RELATIONAL:
        await stores.admin.execute(
            "INSERT INTO tickets (number, holder, removed_at) VALUES ($1, $2, CASE WHEN $3 THEN now() END)",
            number, holder, gone,
        )  # fmt: skip
    else:
        await stores.customer["tickets"].insert_one(
            {"number": number, "holder": holder, "state": {"gone": gone}}
        )


@BOTH
async def test_of_several_records_of_one_key_none_is_the_record(
    stores: Stores, loose: EntitySides, side: Side
) -> None:
    for number, holder, gone in [
        (1, "Ada", False), (1, "Eve", False), (2, "old", True), (2, "live", False), (2, "older", True),
        (3, "Ada", True), (3, "Eve", True), (4, "Ada", False),
    ]:  # fmt: skip
        await put(stores, side, number, holder, gone=gone)
    found = await loose.side(side).read(["1", "2", "3", "4"])
    assert set((found["1"].record or {}).values()) == {SEVERAL}
    assert (found["2"].record or {})["holder"] == "live"
    assert found["3"] == ABSENT
    assert (found["4"].record or {})["holder"] == "Ada"


@BOTH
async def test_several_that_refer_count_each_and_keep_nothing_but_their_references(
    stores: Stores, loose: EntitySides, side: Side
) -> None:
    for number, holder in [(1, "Ada"), (1, "Eve"), (2, "Eve")]:
        await put(stores, side, number, holder)
    found = (await loose.side(side).read_referring("holder", ["Ada", "Eve"])).values()
    seen = sorted(
        (str((each.record or {})["holder"]), (each.record or {})["weight"] is SEVERAL) for each in found
    )
    assert seen == [("Ada", True), ("Eve", False), ("Eve", True)]
