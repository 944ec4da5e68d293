"""Holds: "leave this record alone". A held record is judged and its diff is shown, but nothing of it is written.

A hold stands until it is released. Operators place holds, and so does an undo, on every record that it takes back.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from app.audit.entries import Fact
from app.audit.outbox import About, record_all
from app.errors import ConflictError, Fault
from app.pages import Page, check_limit, decode_cursor, encode_cursor
from app.reconciliation.ledger.spellings import normal, spellings
from app.reconciliation.ledger.suspects import nominate_all
from app.reconciliation.ledger.views import HoldsPlaced, HoldView
from app.stores.connections import Stores

Address = tuple[str, str]  # entity and key


async def place(stores: Stores, records: Sequence[Address], *, by: str, reason: str) -> HoldsPlaced:
    """Hold 1 to 1,000 records, all or none. What is held already keeps its hold and the reason for that.

    Raises InvalidInputError naming every record that is malformed.
    """
    addresses = normal(records, what="records")
    async with stores.core.acquire() as connection, connection.transaction():
        placed: list[Address] = []
        rows: list[asyncpg.Record] = []
        while len(rows) < len(addresses):  # again, where somebody has just released what was held already
            placed += await place_in(connection, addresses, by=by, reason=reason)
            rows = await _select(connection, addresses)
        await _note(connection, Fact.HOLD_PLACED, placed, by=by, reason=reason)
    views = [HoldView(**row) for row in rows]
    fresh = set(placed)
    return HoldsPlaced(
        placed=[view for view in views if (view.entity, view.key) in fresh],
        already_held=[view for view in views if (view.entity, view.key) not in fresh],
    )


async def place_in(
    connection: asyncpg.Connection,
    addresses: Iterable[Address],
    *,
    by: str,
    reason: str,
    undo_id: UUID | None = None,
) -> list[Address]:
    """Hold records in the open transaction, without a fact of their own; answers those that were not held yet."""
    # In one order everywhere, so that two who place holds cannot wait for each other.
    entities, keys = _columns(sorted(set(addresses)))
    rows = await connection.fetch(
        """
        INSERT INTO holds (entity, key, reason, placed_by, undo_id)
        SELECT entity, key, $3, $4, $5 FROM unnest($1::text[], $2::text[]) AS given (entity, key)
        ON CONFLICT DO NOTHING RETURNING entity, key
        """,
        entities,
        keys,
        reason,
        by,
        undo_id,
    )
    return [(row["entity"], row["key"]) for row in rows]


async def release(stores: Stores, records: Sequence[Address], *, by: str, reason: str) -> list[HoldView]:
    """Release 1 to 1,000 records, all or none; each is looked at at once. Answers the holds that there were.

    Raises InvalidInputError naming every record that is malformed, ConflictError naming every one that is not held.
    """
    addresses = normal(records, what="records")
    async with stores.core.acquire() as connection, connection.transaction():
        rows = await _select(connection, addresses, lock=True)
        _refuse_free(addresses, {(row["entity"], row["key"]) for row in rows})
        entities, keys = _columns(addresses)
        await connection.execute(
            """
            DELETE FROM holds USING unnest($1::text[], $2::text[]) AS given (entity, key)
            WHERE holds.entity = given.entity AND holds.key = given.key
            """,
            entities,
            keys,
        )
        await _note(connection, Fact.HOLD_RELEASED, addresses, by=by, reason=reason)
        await nominate_all(connection, dict.fromkeys(addresses), cause=f"released by {by}", mode="any")
    return [HoldView(**row) for row in rows]


async def list_holds(
    stores: Stores,
    *,
    entity: str | None = None,
    key: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[HoldView]:
    """Holds from the newest to the oldest."""
    rows = await stores.core.fetch(
        """
        SELECT * FROM holds WHERE ($1::text IS NULL OR entity = $1) AND ($2::text[] IS NULL OR key = ANY($2))
            AND ($3::timestamptz IS NULL OR (placed_at, entity, key) < ($3, $4::text, $5::text))
        ORDER BY placed_at DESC, entity DESC, key DESC LIMIT $6
        """,
        entity,
        spellings(key, entity),
        *(decode_cursor(cursor, _parse_place) or (None, None, None)),
        check_limit(limit) + 1,
    )
    more = encode_cursor(_spell_place(rows[limit - 1])) if len(rows) > limit else None
    return Page([HoldView(**row) for row in rows[:limit]], more)


async def held(core: asyncpg.Pool | asyncpg.Connection, entity: str, keys: Sequence[str]) -> dict[str, str]:
    """Why some of these records are held; the others are left out."""
    rows = await core.fetch(
        "SELECT key, reason FROM holds WHERE entity = $1 AND key = ANY($2)", entity, list(keys)
    )
    return {row["key"]: row["reason"] for row in rows}


async def find(stores: Stores, entity: str, key: str) -> HoldView | None:
    """The hold of one record, if there is one."""
    row = await stores.core.fetchrow("SELECT * FROM holds WHERE entity = $1 AND key = $2", entity, key)
    return HoldView(**row) if row else None


def _refuse_free(addresses: Sequence[Address], held_ones: set[Address]) -> None:
    faults = [
        Fault(f"{entity}/{key}", "is not held") for entity, key in addresses if (entity, key) not in held_ones
    ]
    if faults:
        raise ConflictError(f"{len(faults)} of {len(addresses)} records are not held", faults=faults)


async def _select(
    connection: asyncpg.Connection, addresses: Sequence[Address], *, lock: bool = False
) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        f"""
        SELECT holds.* FROM holds JOIN unnest($1::text[], $2::text[]) AS given (entity, key) USING (entity, key)
        ORDER BY entity COLLATE "C", key COLLATE "C" {"FOR UPDATE OF holds" if lock else ""}
        """,
        *_columns(addresses),
    )
    return rows


async def _note(
    connection: asyncpg.Connection, name: Fact, addresses: Iterable[Address], *, by: str, reason: str
) -> None:
    facts: list[About] = [
        {"by": by, "target": f"{entity}/{key}", "reason": reason, "entity": entity, "key": key}
        for entity, key in addresses
    ]
    await record_all(connection, name, facts)


def _columns(addresses: Sequence[Address]) -> tuple[list[str], list[str]]:
    return [entity for entity, _key in addresses], [key for _entity, key in addresses]


def _spell_place(row: asyncpg.Record) -> str:
    return json.dumps([row["placed_at"].isoformat(), row["entity"], row["key"]])


def _parse_place(text: str) -> tuple[datetime, str, str]:
    placed_at, entity, key = json.loads(text)
    if b"\0" in f"{entity}{key}".encode():  # which refuses a lone surrogate
        raise ValueError("no text of ours holds a NUL")
    return datetime.fromisoformat(placed_at).astimezone(UTC), str(entity), str(key)
