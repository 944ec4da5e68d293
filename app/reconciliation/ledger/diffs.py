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
from app.reconciliation.resolve import FieldDiff, Verdict
from app.reconciliation.values import spell
from app.stores.connections import Stores

OPEN = ("open", "in_review", "approved", "unsettled")
STATUSES = (*OPEN, "repaired", "rejected", "vanished")


async def standing(core: asyncpg.Pool, entity: str, keys: Sequence[str]) -> dict[str, DiffView]:
    """The open diff of each record that has one, else its rejected one, if that was its last."""
    rows = await core.fetch(
        """
        SELECT DISTINCT ON (key) * FROM diffs WHERE entity = $1 AND key = ANY($2) AND invariant = ''
            AND kind <> 'unreadable_key'
        ORDER BY key, (status = ANY($3)) DESC, id DESC
        """,
        entity,
        list(keys),
        OPEN,
    )
    return {row["key"]: view(row) for row in rows if row["status"] in (*OPEN, "rejected")}


@dataclass(frozen=True)
class Found:
    """What a look found of a record: it renews the diff `over` that stood when the record was read, or opens one."""

    suspect: Suspect
    verdict: Verdict
    status: str
    over: DiffView | None
    reason: str | None = None


@dataclass(frozen=True)
class Ending:
    """The status that an open diff gets, and why; no reason keeps the one that it has."""

    diff_id: UUID
    status: str
    reason: str | None = None


async def put(core: asyncpg.Pool, found: Sequence[Found]) -> list[UUID | None]:
    """Record what looks found, of records of one entity; answers the ids of the diffs, in the order of `found`.

    None, and nothing is recorded, where the diff has been decided or another one opened since it was read.
    """
    if not found:
        return []
    rows = await core.fetch(
        """
        INSERT INTO diffs (entity, key, run_id, cause, kind, status, fields, fingerprint, reason, closed_at)
        SELECT entity, key, run_id, cause, kind, status, fields, fingerprint, reason,
            CASE WHEN status = ANY($12) THEN NULL ELSE now() END
        FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::jsonb[],
            $8::text[], $9::text[], $10::uuid[], $11::text[])
            AS found (entity, key, run_id, cause, kind, status, fields, fingerprint, reason, over, over_status)
        WHERE NOT EXISTS (SELECT FROM diffs WHERE id = over AND diffs.status <> over_status)
        ON CONFLICT (entity, key, invariant, (kind = 'unreadable_key'))
            WHERE status IN ('open', 'in_review', 'approved', 'unsettled') DO UPDATE SET
            run_id = COALESCE(diffs.run_id, EXCLUDED.run_id), cause = EXCLUDED.cause, kind = EXCLUDED.kind,
            status = EXCLUDED.status, fields = EXCLUDED.fields, reason = EXCLUDED.reason,
            closed_at = EXCLUDED.closed_at, fingerprint = EXCLUDED.fingerprint,
            moved_at = CASE WHEN diffs.fingerprint = EXCLUDED.fingerprint THEN diffs.moved_at ELSE now() END
            WHERE EXISTS (
                SELECT FROM unnest($10::uuid[], $11::text[]) AS stood (id, status)
                WHERE stood.id = diffs.id AND stood.status = diffs.status)
        RETURNING key, id
        """,
        # In the order of keys, so that two repairers cannot wait for each other.
        *_columns(sorted((_row(each) for each in found), key=lambda row: row[1]), 11),
        OPEN,
    )
    ids = {row["key"]: row["id"] for row in rows}
    return [ids.get(each.suspect.key) for each in found]


def _row(found: Found) -> tuple[Any, ...]:
    encoded = msgspec.json.encode([_field_view(each) for each in found.verdict.fields]).decode()
    return (
        found.suspect.entity,
        found.suspect.key,
        found.suspect.run_id,
        found.suspect.cause,
        found.verdict.kind.value,
        found.status,
        # jsonb cannot hold the character NUL, which a document may: shown as its picture.
        encoded.replace("\\u0000", "\\u2400"),
        found.verdict.fingerprint,
        found.reason or found.verdict.review,
        found.over and found.over.id,
        found.over and found.over.status,
    )


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
        ON CONFLICT DO NOTHING
        """,
        run_id,
        entity,
        f"run {run_id}",
    )
    await connection.execute(
        """
        UPDATE diffs SET status = 'vanished', closed_at = now()
        WHERE entity = $2 AND kind = 'unreadable_key' AND status = 'in_review'
            AND key NOT IN (SELECT key FROM findings WHERE run_id = $1 AND kind = 'unreadable_key')
        """,
        run_id,
        entity,
    )


async def close(core: asyncpg.Pool, endings: Sequence[Ending]) -> None:
    """End open diffs, or send them to review; one that has ended stays as it is."""
    if not endings:
        return
    ordered = sorted(((each.diff_id, each.status, each.reason) for each in endings), key=lambda row: row[0])
    await core.execute(
        """
        UPDATE diffs SET status = ending.status, reason = COALESCE(ending.reason, diffs.reason),
            closed_at = CASE WHEN ending.status = ANY($4) THEN NULL ELSE now() END
        FROM unnest($1::uuid[], $2::text[], $3::text[]) AS ending (id, status, reason)
        WHERE diffs.id = ending.id AND diffs.status = ANY($4)
        """,
        *_columns(ordered, 3),
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
    return DiffView(**values)


def _field_view(each: FieldDiff) -> FieldView:
    return FieldView(
        name=each.name,
        document=spell(each.document),
        relational=spell(each.relational),
        rule=each.rule,
        winner=each.winner,
        value=spell(each.value),
    )
