"""What the Admin API does: on tables only, without a word to the document side."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from app.demo.market import CLOSES, LARGEST_FLEET, Market
from app.demo.reporter import Changed
from app.demo.world import PRICES, RANGES
from app.stores.vocabulary import BookingStatus, Destination, LaunchStatus

SETTLED = timedelta(seconds=5)  # a launch is deleted only when its making is long known
CANCELLED_AT_ONCE = 3
ON_OFFER = 0.5  # share of the new launches that are sold; the others may be deleted


async def create_launch(market: Market) -> list[Changed]:
    """A new launch; about half of them are put on sale."""
    rng, now = market.rng, datetime.now(UTC)
    rocket = rng.choice(market.rockets)
    destination = rng.choice(RANGES[: RANGES.index(Destination(rocket["range"])) + 1])
    key = uuid4()
    await market.stores.admin.execute(
        """
        INSERT INTO launches (id, rocket_id, supplier_id, spaceport_id, destination, launch_date, price,
                              total_seats, status, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
        """,
        key,
        rocket["id"],
        rocket["supplier_id"],
        rng.choice(market.spaceports),
        destination.value,
        now.replace(minute=0, second=0, microsecond=0) + timedelta(days=rng.randint(30, 365)),
        Decimal(rng.randint(*PRICES[destination])),
        rocket["capacity"],
        LaunchStatus.SCHEDULED.value,
        now,
    )
    if rng.random() < ON_OFFER:
        market.offers.append(key)
    else:
        market.private[key] = now
    return [("launches", key)]


async def delay(market: Market) -> list[Changed] | None:
    """A launch is put off by some days."""
    return await _update_launch(
        market,
        f"launch_date = launch_date + interval '{market.rng.randint(1, 30)} days', status = '{LaunchStatus.DELAYED}'",
    )


async def reprice(market: Market) -> list[Changed] | None:
    """Later bookings of a launch cost more, or less."""
    return await _update_launch(
        market, f"price = round(price * {market.rng.choice((95, 97, 103, 108))} / 100, 2)"
    )


async def save_launch(market: Market) -> list[Changed] | None:
    """Someone opens a launch and saves it as it was."""
    return await _update_launch(market, "status = status")


async def _update_launch(market: Market, assignments: str) -> list[Changed] | None:
    now = datetime.now(UTC)
    key = await market.stores.admin.fetchval(
        f"UPDATE launches SET {assignments}, updated_at = $2 WHERE id = $1 AND launch_date > $3 RETURNING id",
        market.rng.choice(market.offers),
        now,
        now + CLOSES,
    )
    return None if key is None else [("launches", key)]


async def rename(market: Market) -> list[Changed] | None:
    """A rocket or a supplier gets another name, which every launch of it shows."""
    small = [fleet for fleet, launches in market.fleets.items() if launches <= LARGEST_FLEET]
    if not small:
        return None
    table, key = market.rng.choice(small)
    column, reference = ("name", "rocket_id") if table == "rockets" else ("company_name", "supplier_id")
    await market.stores.admin.execute(
        f"UPDATE {table} SET {column} = regexp_replace({column}, ' [IVX]+$', '') || $2, updated_at = $3 WHERE id = $1",
        key,
        f" {market.rng.choice(('II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII', 'IX', 'X'))}",
        datetime.now(UTC),
    )
    shown = await market.stores.admin.fetch(f"SELECT id FROM launches WHERE {reference} = $1", key)
    return [("launches", row["id"]) for row in shown] or None


async def set_vip(market: Market) -> list[Changed] | None:
    """Someone becomes a VIP, or is one no longer."""
    key = await market.stores.admin.fetchval(
        "UPDATE customers SET is_vip = NOT is_vip, updated_at = $2 WHERE id = $1 RETURNING id",
        market.rng.choice(market.customers),
        datetime.now(UTC),
    )
    return None if key is None else [("customers", key)]


async def cancel_for_customers(market: Market) -> list[Changed] | None:
    """A few confirmed bookings of a launch are cancelled; the Admin API sets the status and nothing else."""
    rows = await market.stores.admin.fetch(
        """
        UPDATE bookings SET status = $3, updated_at = $4 WHERE id IN (
            SELECT id FROM bookings WHERE launch_id = $1 AND status = $2 ORDER BY id LIMIT $5
            FOR UPDATE SKIP LOCKED)
        RETURNING id
        """,
        market.rng.choice(market.offers),
        BookingStatus.CONFIRMED.value,
        BookingStatus.CANCELLED.value,
        datetime.now(UTC),
        market.rng.randint(1, CANCELLED_AT_ONCE),
    )
    return [("bookings", row["id"]) for row in rows] or None


async def delete_launch(market: Market) -> list[Changed] | None:
    """A launch that was never on sale is given up. A few only: deletions are what the breaker allows fewest of."""
    key = _ripe(market)
    if key is None or market.deletions_left <= 0:
        return None
    market.deletions_left -= 1
    del market.private[key]
    await market.stores.admin.execute(
        "DELETE FROM launches l WHERE id = $1 AND NOT EXISTS (SELECT FROM bookings b WHERE b.launch_id = l.id)",
        key,
    )
    return [("launches", key)]


def _ripe(market: Market) -> UUID | None:
    latest = datetime.now(UTC) - SETTLED
    return next((key for key, made in market.private.items() if made <= latest), None)
