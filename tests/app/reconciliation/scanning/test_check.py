"""What the columns say of invariants is what looking at records one by one says, whatever they hold."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from app.reconciliation.entities import BOOKINGS, LAUNCHES
from app.reconciliation.mapping import Kind, Side
from app.reconciliation.rules import CUSTOMER_EXISTS, SEATS_SOLD, TOTAL_PRICE
from app.reconciliation.running.looks import Look, _multiplied, _referring, _totals
from app.reconciliation.scanning.canonical import KEY, Layout, frame_of_records, key_text
from app.reconciliation.scanning.check import (
    _layout,
    _named,
    _priced,
    _see_more,
    _see_nobody,
    _see_other,
    _Seen,
)
from app.reconciliation.scanning.compare import DOUBTFUL
from app.reconciliation.scanning.sums import layout_of_total, sum_up
from app.reconciliation.sides.ports import Reading
from app.reconciliation.values import Unreadable

BROKEN = Unreadable("something else")
BEYOND = Decimal("12345678901234567.0000001")
MORNING = datetime(2026, 3, 1, 8, tzinfo=UTC)

prices = st.sampled_from([None, BROKEN, Decimal(0), Decimal("120.00"), Decimal("120.000001"), BEYOND])
totals = st.sampled_from(
    [None, BROKEN, Decimal(0), Decimal("240.00"), Decimal("240.0"), Decimal("240.000002"), BEYOND, 2 * BEYOND]
)
counts = st.sampled_from([None, BROKEN, 0, 1, 2, 3])
moments = st.sampled_from([None, BROKEN, *(MORNING + timedelta(milliseconds=by) for by in (0, 1, 2))])
keys = st.sampled_from([UUID(int=number) for number in (1, 2, 2**127 + 1, 2**128 - 1)])
references = st.none() | st.just(BROKEN) | keys
statuses = st.sampled_from([None, BROKEN, "Confirmed", "Completed", "Cancelled"])

bookings = st.fixed_dictionaries(
    {
        "customer_id": references,
        "launch_id": references,
        "number_of_seats": counts,
        "total_price": totals,
        "booking_date": moments,
        "created_at": moments,
    }
)
# What a relational side keeps is finer than what is compared.
changes = st.none() | st.integers(-2500, 2500).map(lambda by: MORNING + timedelta(microseconds=by))


def rows_of(layout: Layout, records: dict[UUID, dict[str, Any]]) -> pl.DataFrame:
    names = [column.name for column in layout.columns]
    return frame_of_records(layout, [(key, [each[name] for name in names]) for key, each in records.items()])


def own_rows(entity: Any, records: dict[UUID, dict[str, Any]]) -> pl.DataFrame:
    layout, names = _layout(entity)
    return rows_of(layout, records).rename(names)


def keys_of(seen: _Seen) -> set[str]:
    return {key_text(Kind.UUID, key) for key in seen.keys}


def broken(looks: dict[str, Look]) -> set[str]:
    return {key for key, each in looks.items() if each.reason}


@given(
    st.dictionaries(keys, bookings, max_size=4),
    st.dictionaries(keys, st.tuples(prices, changes), max_size=4),
)
def test_a_product_is_judged_alike(
    records: dict[UUID, dict[str, Any]], launches: dict[UUID, tuple[Any, datetime | None]]
) -> None:
    layout = _priced(LAUNCHES, "price")
    referred = frame_of_records(layout, [(key, list(values)) for key, values in launches.items()])
    seen = _see_other(TOTAL_PRICE.form, _named(referred), own_rows(BOOKINGS, records))

    referring = {key: each for key, each in records.items() if each["launch_id"] in launches}
    looks = {}
    for key, each in referring.items():
        price, changed = launches[each["launch_id"]]
        other = Reading(record={"price": price}, updated_at=changed)
        looks[str(key)] = _multiplied(TOTAL_PRICE.form, Side.DOCUMENT, Reading(record=each), other)

    beyond = {
        str(key)
        for key, each in referring.items()
        if each["total_price"] in {BEYOND, 2 * BEYOND} or launches[each["launch_id"]][0] == BEYOND
    }
    known = {key for key, each in looks.items() if each.known}
    assert broken(looks) <= keys_of(seen), "nothing broken is missed"
    assert keys_of(seen) - beyond == broken(looks) - beyond
    assert len(looks) - len(known | beyond) <= seen.unjudged <= len(looks) - len(known)


@given(st.dictionaries(keys, bookings, max_size=4), st.sets(keys))
def test_a_reference_is_judged_alike(records: dict[UUID, dict[str, Any]], customers: set[UUID]) -> None:
    held = pl.DataFrame(schema={KEY: pl.Int128}) if not customers else own_keys(customers)
    seen = _see_nobody(CUSTOMER_EXISTS.form, held, own_rows(BOOKINGS, records))

    looks = {
        str(key): _referring(
            CUSTOMER_EXISTS.form, Side.DOCUMENT, LAUNCHES, Reading(record=each), set(map(str, customers))
        )
        for key, each in records.items()
    }
    assert keys_of(seen) == broken(looks)


def own_keys(found: set[UUID]) -> pl.DataFrame:
    layout = layout_of_total(SEATS_SOLD.form.total)
    return frame_of_records(layout, [(key, [None] * 3) for key in found]).select(KEY)


@given(
    st.dictionaries(keys, counts, max_size=4),
    st.dictionaries(st.uuids(), st.tuples(references, counts, statuses), max_size=6),
)
def test_a_total_is_judged_alike(launches: dict[UUID, Any], sold: dict[UUID, tuple[Any, Any, Any]]) -> None:
    layout = layout_of_total(SEATS_SOLD.form.total)
    sums = sum_up(
        SEATS_SOLD.form.total, [frame_of_records(layout, [(key, list(each)) for key, each in sold.items()])]
    )
    seen = _see_more(
        SEATS_SOLD.form,
        sums,
        own_rows(LAUNCHES, {key: {"total_seats": each} for key, each in launches.items()}),
    )

    names = ("launch_id", "number_of_seats", "status")
    looks = _totals(
        SEATS_SOLD.form,
        Side.DOCUMENT,
        {str(key): Reading(record={"total_seats": each}) for key, each in launches.items()},
        {str(key): Reading(record=dict(zip(names, each, strict=True))) for key, each in sold.items()},
    )
    doubtful = {key_text(Kind.UUID, key) for key in sums.filter(pl.col(DOUBTFUL))[KEY]}
    assert keys_of(seen) == broken(looks) - doubtful
    assert seen.unjudged >= sum(not each.known for each in looks.values()), "what is left out is counted"
