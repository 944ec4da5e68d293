"""The records that the benchmarks of repairs and events share: customers, equal on both sides until they are spoilt."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

from app.demo.shapes import customer_document, customer_row
from app.demo.world import Customer
from app.stores.connections import Stores

# Longer ago than any settle window.
_SETTLED = timedelta(minutes=10)
_AT_ONCE = 1_000
# Few enough that a slow store stays within the time limit of a statement.
_UPDATED_AT_ONCE = 200


async def make_customers(stores: Stores, number: int) -> list[UUID]:
    """As many customers, last written some minutes ago."""
    instant = datetime.now(UTC) - _SETTLED
    instant = instant.replace(microsecond=instant.microsecond // 1000 * 1000)
    keys = [uuid4() for _ in range(number)]
    for at in range(0, number, _AT_ONCE):
        some = [_customer(key, instant) for key in keys[at : at + _AT_ONCE]]
        await stores.customer["customers"].insert_many(map(customer_document, some), ordered=False)
        rows = [customer_row(each) for each in some]
        await stores.admin.copy_records_to_table(
            "customers", columns=list(rows[0]), records=[tuple(each.values()) for each in rows]
        )
    return keys


def _customer(key: UUID, instant: datetime) -> Customer:
    return Customer(
        id=key,
        first_name="Ada",
        last_name="Lovelace",
        email=f"{key.hex}@example.com",
        date_of_birth=date(1990, 5, 17),
        contact_number="+44 20 7946 0000",
        street="1 Square",
        city="London",
        postal_code="SW1",
        country="UK",
        is_vip=False,
        created_at=instant,
        updated_at=instant,
    )


async def rename(stores: Stores, keys: Sequence[UUID], first_name: str) -> None:
    """Change the name on the document side, which is right for it; no `updated_at` moves."""
    for at in range(0, len(keys), _UPDATED_AT_ONCE):
        some = {"$in": list(keys[at : at + _UPDATED_AT_ONCE])}
        await stores.customer["customers"].update_many({"_id": some}, {"$set": {"first_name": first_name}})


async def honour(stores: Stores, keys: Sequence[UUID], *, is_vip: bool) -> None:
    """Change `is_vip` on the relational side, which is right for it; no `updated_at` moves."""
    await stores.admin.execute("UPDATE customers SET is_vip = $2 WHERE id = ANY($1)", list(keys), is_vip)
