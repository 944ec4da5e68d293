"""Diffs: confirmed discrepancies, one row each in the core DB, at most one open per record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.errors import Fault, InvalidInputError, NotFoundError
from app.pages import Page, check_limit, decode_cursor_id, encode_cursor
from app.reconciliation.ledger.spellings import spellings
from app.reconciliation.ledger.suspects import Suspect
from app.reconciliation.ledger.views import DiffView, FieldView
from app.reconciliation.mapping import mappings
from app.reconciliation.resolve import FieldDiff, Verdict, leaves_a_choice
from app.reconciliation.values import spell
from app.stores.connections import Stores

OPEN = ("open", "in_review", "approved", "unsettled")
STATUSES = (*OPEN, "repaired", "rejected", "vanished")
_IS_OPEN = "status IN ('open', 'in_review', 'approved', 'unsettled')"
# Whoever locks several diffs locks them in this order, that of Python's strings: so nobody waits in a circle.
IN_ORDER = 'ORDER BY diffs.entity COLLATE "C", diffs.key COLLATE "C", diffs.id'

# What stands of a record now must be what stood when it was read. The unique index keeps the first of two that open one
# at the same time.
_RECORD = f"""
INSERT INTO diffs
    (entity, key, invariant, run_id, cause, kind, status, fields, fingerprint, reason, persons, closed_at)
SELECT entity, key, invariant, run_id, cause, kind, found.status, fields, fingerprint, reason,
    ARRAY(SELECT jsonb_array_elements_text(persons)), CASE WHEN found.status = ANY($14) THEN NULL ELSE now() END
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[],
    $10::text[], $11::uuid[], $12::text[], $13::jsonb[])
    AS found (entity, key, invariant, run_id, cause, kind, status, fields, fingerprint, reason, over, over_status, persons)
LEFT JOIN LATERAL (
    SELECT id, status FROM diffs
    WHERE diffs.entity = found.entity AND diffs.key = found.key AND diffs.invariant = found.invariant
        AND diffs.kind <> 'unreadable_key'
    ORDER BY (diffs.status = ANY($14)) DESC, id DESC LIMIT 1
) AS stands ON stands.status = ANY($14) OR stands.status = 'rejected'
WHERE (stands.id, stands.status) IS NOT DISTINCT FROM (over, over_status)
ORDER BY entity COLLATE "C", key COLLATE "C"
ON CONFLICT (entity, key, invariant, (kind = 'unreadable_key')) WHERE {_IS_OPEN} DO UPDATE SET
    run_id = COALESCE(diffs.run_id, EXCLUDED.run_id), cause = EXCLUDED.cause, kind = EXCLUDED.kind,
    status = EXCLUDED.status, fields = EXCLUDED.fields, reason = EXCLUDED.reason,
    closed_at = EXCLUDED.closed_at, fingerprint = EXCLUDED.fingerprint, persons = EXCLUDED.persons, erased_at = NULL,
    moved_at = CASE WHEN diffs.fingerprint = EXCLUDED.fingerprint THEN diffs.moved_at ELSE now() END
    WHERE diffs.id = ANY($11)
RETURNING entity, key, invariant, id
"""
APPROVABLE = ("in_review",)


async def standing(core: asyncpg.Pool, entity: str, keys: Sequence[str]) -> dict[str, DiffView]:
    """The open diff of each record that has one, else its rejected one, if that was its last."""
    found = await _standing(core, entity, keys, invariants=False)
    return {key: diff for (key, _invariant), diff in found.items()}


async def standing_breaches(
    core: asyncpg.Pool, entity: str, keys: Sequence[str]
) -> dict[tuple[str, str], DiffView]:
    """As `standing`, of each invariant that a record breaks, by key and invariant."""
    return await _standing(core, entity, keys, invariants=True)


async def _standing(
    core: asyncpg.Pool, entity: str, keys: Sequence[str], *, invariants: bool
) -> dict[tuple[str, str], DiffView]:
    rows = await core.fetch(
        """
        SELECT DISTINCT ON (key, invariant) * FROM diffs
        WHERE entity = $1 AND key = ANY($2) AND (invariant <> '') = $4 AND kind <> 'unreadable_key'
        ORDER BY key, invariant, (status = ANY($3)) DESC, id DESC
        """,
        entity,
        list(keys),
        OPEN,
        invariants,
    )
    found = {(row["key"], row["invariant"]): view(row) for row in rows}
    return {place: diff for place, diff in found.items() if diff.status in (*OPEN, "rejected")}


@dataclass(frozen=True)
class Found:
    """What a look found of a record: it renews the diff `over` that stood when the record was read, or opens one."""

    suspect: Suspect
    verdict: Verdict
    status: str
    over: DiffView | None
    reason: str | None = None
    persons: tuple[str, ...] = ()

    def as_discrepancy(self) -> "Discrepancy":
        return Discrepancy(
            entity=self.suspect.entity,
            key=self.suspect.key,
            run_id=self.suspect.run_id,
            cause=self.suspect.cause,
            kind=self.verdict.kind,
            status=self.status,
            fields=[_field_view(each) for each in self.verdict.fields],
            fingerprint=self.verdict.fingerprint,
            reason=self.reason or self.verdict.review,
            over=self.over,
            persons=self.persons,
        )


@dataclass(frozen=True)
class Discrepancy:
    """What is to be recorded of a record, or of an invariant that it breaks; `over` is the diff that stood.

    `persons` are those whose values it may hold, beside the record itself.
    """

    entity: str
    key: str
    run_id: UUID | None
    cause: str
    kind: str
    status: str
    fields: Sequence[FieldView]
    fingerprint: str
    reason: str | None
    over: DiffView | None
    invariant: str = ""
    persons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ending:
    """The status that an open diff gets, and why; no reason keeps the one that it has."""

    diff_id: UUID
    status: str
    reason: str | None = None


async def put(core: asyncpg.Pool, found: Sequence[Found]) -> list[UUID | None]:
    """Record what looks found; answers the ids of the diffs, in the order of `found`, as `record` does."""
    return await record(core, [each.as_discrepancy() for each in found])


async def record(core: asyncpg.Pool, discrepancies: Sequence[Discrepancy]) -> list[UUID | None]:
    """Record discrepancies; answers the ids of their diffs, in the order given.

    None, and nothing is recorded, where the diff has been decided or another one opened since it was read.
    """
    if not discrepancies:
        return []
    columns = _columns(sorted((_row(each) for each in discrepancies), key=lambda row: row[:3]), 13)
    async with core.acquire() as connection, connection.transaction():
        # A statement sees what had been committed when it began. So whoever is deciding about one of these is waited
        # for here, and what has come of it is seen by the next statement.
        await connection.execute(
            f"""
            SELECT FROM diffs JOIN unnest($1::text[], $2::text[]) AS found (entity, key) USING (entity, key)
            WHERE diffs.{_IS_OPEN} {IN_ORDER} FOR UPDATE OF diffs
            """,
            *columns[:2],
        )
        rows = await connection.fetch(_RECORD, *columns, OPEN)
    ids = {(row["entity"], row["key"], row["invariant"]): row["id"] for row in rows}
    return [ids.get((each.entity, each.key, each.invariant)) for each in discrepancies]


def _row(found: Discrepancy) -> tuple[Any, ...]:
    fields = msgspec.json.encode(found.fields).decode()
    return (
        found.entity,
        found.key,
        found.invariant,
        found.run_id,
        found.cause,
        found.kind,
        found.status,
        # PostgreSQL cannot hold the character NUL, which a document may: shown as its picture.
        fields.replace("\\u0000", "\\u2400"),
        found.fingerprint,
        _without_nul(found.reason),
        found.over and found.over.id,
        found.over and found.over.status,
        msgspec.json.encode(found.persons).decode(),
    )


def _without_nul(reason: str | None) -> str | None:
    return reason and reason.replace("\0", "\u2400")


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as one list per column, as unnest wants them."""
    return [[row[at] for row in rows] for at in range(width)]


async def show_unreadable_keys(connection: asyncpg.Connection, run_id: UUID, entity: str) -> None:
    """Put the records whose key a run could not read into review, and end the diffs of those that are gone.

    Nothing can address such a record, so they are never suspects: their owner must correct them. One that an operator
    has rejected is left alone.
    """
    await connection.execute(
        """
        INSERT INTO diffs (entity, key, run_id, cause, kind, status, fingerprint, reason)
        SELECT $2, key, $1, $3, kind, 'in_review', key, 'its key is not of the declared kind'
        FROM findings WHERE run_id = $1 AND kind = 'unreadable_key' AND 'rejected' IS DISTINCT FROM (
            SELECT status FROM diffs WHERE entity = $2 AND diffs.key = findings.key AND kind = 'unreadable_key'
            ORDER BY id DESC LIMIT 1)
        ORDER BY key COLLATE "C"
        ON CONFLICT DO NOTHING
        """,
        run_id,
        entity,
        f"run {run_id}",
    )
    await connection.execute(
        f"""
        UPDATE diffs SET status = 'vanished', closed_at = now()
        FROM (
            SELECT id FROM diffs WHERE entity = $2 AND kind = 'unreadable_key' AND status = 'in_review'
                AND key NOT IN (SELECT key FROM findings WHERE run_id = $1 AND kind = 'unreadable_key')
            {IN_ORDER} FOR UPDATE
        ) AS gone
        WHERE diffs.id = gone.id
        """,
        run_id,
        entity,
    )


async def close(core: asyncpg.Pool, endings: Sequence[Ending]) -> None:
    """End open diffs, or send them to review; one that has ended stays as it is."""
    if not endings:
        return
    await core.execute(
        f"""
        UPDATE diffs SET status = ending.status, reason = COALESCE(ending.reason, diffs.reason),
            closed_at = CASE WHEN ending.status = ANY($4) THEN NULL ELSE now() END
        FROM (
            SELECT ending.* FROM diffs
            JOIN unnest($1::uuid[], $2::text[], $3::text[]) AS ending (id, status, reason) ON diffs.id = ending.id
            WHERE diffs.status = ANY($4) {IN_ORDER} FOR UPDATE OF diffs
        ) AS ending
        WHERE diffs.id = ending.id
        """,
        *_columns([(each.diff_id, each.status, _without_nul(each.reason)) for each in endings], 3),
        OPEN,
    )


async def list_diffs(
    stores: Stores,
    *,
    entity: str | None = None,
    key: str | None = None,
    status: str | None = None,
    run_id: UUID | None = None,
    kind: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[DiffView]:
    """Diffs from the newest to the oldest. `status` is one of theirs, or `pending` for every one that is open.

    Raises InvalidInputError for an unknown status.
    """
    if status is not None and status not in (*STATUSES, "pending"):
        raise InvalidInputError(
            "unknown status", [Fault("status", f"is one of pending, {', '.join(STATUSES)}")]
        )
    wanted = OPEN if status == "pending" else (status,) if status else STATUSES
    rows = await stores.core.fetch(
        """
        SELECT * FROM diffs WHERE status = ANY($1)
            AND ($2::text IS NULL OR entity = $2) AND ($3::text[] IS NULL OR key = ANY($3))
            AND ($4::uuid IS NULL OR run_id = $4) AND ($5::text IS NULL OR kind = $5)
            AND ($6::uuid IS NULL OR id < $6)
        ORDER BY id DESC LIMIT $7
        """,
        wanted,
        entity,
        spellings(key, entity),
        run_id,
        kind,
        decode_cursor_id(cursor),
        check_limit(limit) + 1,
    )
    more = encode_cursor(str(rows[limit - 1]["id"])) if len(rows) > limit else None
    return Page([view(row) for row in rows[:limit]], more)


async def get_diff(stores: Stores, diff_id: UUID) -> DiffView:
    """One diff; raises NotFoundError."""
    row = await stores.core.fetchrow("SELECT * FROM diffs WHERE id = $1", diff_id)
    if row is None:
        raise NotFoundError(f"no diff {diff_id}")
    return view(row)


def view(row: asyncpg.Record) -> DiffView:
    """A row of `diffs` as callers see it."""
    values: dict[str, Any] = dict(row)
    values["fields"] = msgspec.json.decode(values["fields"], type=list[FieldView])
    del values["persons"]
    return DiffView(**values, approvable=values["status"] in APPROVABLE and _leaves_a_choice(values))


def _leaves_a_choice(values: dict[str, Any]) -> bool:
    mapping = mappings().get(values["entity"])  # None where the entity is no longer declared
    winners = (each.winner for each in values["fields"])
    return mapping is not None and leaves_a_choice(mapping, values["kind"], winners)


def _field_view(each: FieldDiff) -> FieldView:
    return FieldView(
        name=each.name,
        document=spell(each.document),
        relational=spell(each.relational),
        rule=each.rule,
        winner=each.winner,
        value=spell(each.value),
    )
