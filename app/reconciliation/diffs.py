"""Diffs: confirmed discrepancies, one row each in the core DB, at most one open per record."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.pages import Page, check_limit, decode_cursor_id, encode_cursor
from app.reconciliation.mapping import Missing, Side, mapping_of
from app.reconciliation.resolve import FieldDiff, Verdict
from app.reconciliation.suspects import Suspect, nominate
from app.reconciliation.values import spell
from app.reconciliation.views import DiffView, FieldView
from app.stores.connections import Stores

OPEN = ("open", "in_review", "approved", "unsettled")
STATUSES = (*OPEN, "repaired", "rejected", "vanished")


async def standing(core: asyncpg.Pool, entity: str, keys: Sequence[str]) -> dict[str, DiffView]:
    """The open diff of each record that has one, else its rejected one, if that was its last."""
    rows = await core.fetch(
        """
        SELECT DISTINCT ON (key) * FROM diffs WHERE entity = $1 AND key = ANY($2) AND invariant = ''
        ORDER BY key, (status = ANY($3)) DESC, id DESC
        """,
        entity,
        list(keys),
        OPEN,
    )
    return {row["key"]: view(row) for row in rows if row["status"] in (*OPEN, "rejected")}


async def put(
    core: asyncpg.Pool,
    suspect: Suspect,
    verdict: Verdict,
    *,
    status: str,
    over: DiffView | None,
    reason: str | None = None,
) -> UUID | None:
    """Record what a look found: the diff `over` that stood when it was read is renewed, or one is opened.

    Answers its id; None, and nothing is recorded, where that diff has been decided or another one opened since.
    """
    encoded = msgspec.json.encode([_field_view(each) for each in verdict.fields]).decode()
    diff_id: UUID | None = await core.fetchval(
        """
        INSERT INTO diffs (entity, key, run_id, cause, kind, status, fields, fingerprint, reason, closed_at)
        SELECT $1, $2, $3::uuid, $4, $5, $6, $7::jsonb, $8, $9, CASE WHEN $6 = ANY($10) THEN NULL ELSE now() END
        WHERE NOT EXISTS (SELECT FROM diffs WHERE id = $11 AND status <> $12)
        ON CONFLICT (entity, key, invariant) WHERE status IN ('open', 'in_review', 'approved', 'unsettled') DO UPDATE SET
            run_id = COALESCE(diffs.run_id, EXCLUDED.run_id), cause = EXCLUDED.cause, kind = EXCLUDED.kind,
            status = EXCLUDED.status, fields = EXCLUDED.fields, reason = EXCLUDED.reason,
            closed_at = EXCLUDED.closed_at, fingerprint = EXCLUDED.fingerprint,
            moved_at = CASE WHEN diffs.fingerprint = EXCLUDED.fingerprint THEN diffs.moved_at ELSE now() END
            WHERE diffs.id = $11 AND diffs.status = $12
        RETURNING id
        """,
        suspect.entity,
        suspect.key,
        suspect.run_id,
        suspect.cause,
        verdict.kind.value,
        status,
        # jsonb cannot hold the character NUL, which a document may: shown as its picture.
        encoded.replace("\\u0000", "\\u2400"),
        verdict.fingerprint,
        reason or verdict.review,
        OPEN,
        over and over.id,
        over and over.status,
    )
    return diff_id


async def show_unreadable_keys(connection: asyncpg.Connection, run_id: UUID, entity: str) -> None:
    """Put the records whose key a run could not read into review, and end the diffs of those that are gone.

    Nothing can address such a record, so they are never suspects: their owner must correct them.
    """
    await connection.execute(
        """
        INSERT INTO diffs (entity, key, run_id, cause, kind, status, fingerprint, reason)
        SELECT $2, key, $1, $3, kind, 'in_review', key, 'its key is not of the declared kind'
        FROM findings WHERE run_id = $1 AND kind = 'unreadable_key' ON CONFLICT DO NOTHING
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


async def close(core: asyncpg.Pool, diff_id: UUID, status: str, reason: str | None = None) -> None:
    """End an open diff, or send it to review; one that has ended stays as it is."""
    await core.execute(
        """
        UPDATE diffs SET status = $2, reason = COALESCE($3, reason),
            closed_at = CASE WHEN $2 = ANY($4) THEN NULL ELSE now() END
        WHERE id = $1 AND status = ANY($4)
        """,
        diff_id,
        status,
        reason,
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
    """Diffs from the newest to the oldest. `status` is one of theirs, or `pending` for every one that is open."""
    if status is not None and status not in (*STATUSES, "pending"):
        raise InvalidInputError(
            "unknown status", [Fault("status", f"is one of pending, {', '.join(STATUSES)}")]
        )
    wanted = OPEN if status == "pending" else (status,) if status else STATUSES
    rows = await stores.core.fetch(
        """
        SELECT * FROM diffs WHERE status = ANY($1)
            AND ($2::text IS NULL OR entity = $2) AND ($3::text IS NULL OR key = $3)
            AND ($4::uuid IS NULL OR run_id = $4) AND ($5::text IS NULL OR kind = $5)
            AND ($6::uuid IS NULL OR id < $6)
        ORDER BY id DESC LIMIT $7
        """,
        wanted,
        entity,
        key,
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


async def approve(stores: Stores, diff_id: UUID, *, side: str, by: str, reason: str) -> DiffView:
    """Let `side` win where the rules ask for review. The record is repaired on the one repair path.

    Raises ConflictError where the diff is not in review, InvalidInputError for an unknown side.
    """
    if side not in set(Side):
        raise InvalidInputError("unknown side", [Fault("side", f"is one of {', '.join(Side)}")])
    return await _decide(stores, diff_id, "approved", Fact.DIFF_APPROVED, by=by, reason=reason, side=side)


async def reject(stores: Stores, diff_id: UUID, *, by: str, reason: str) -> DiffView:
    """Leave the record as it is, as long as its values stay what they are now."""
    return await _decide(stores, diff_id, "rejected", Fact.DIFF_REJECTED, by=by, reason=reason, side=None)


async def _decide(
    stores: Stores, diff_id: UUID, status: str, name: Fact, *, by: str, reason: str, side: str | None
) -> DiffView:
    decidable = ("in_review", "open", "unsettled") if status == "rejected" else ("in_review",)
    async with stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow("SELECT * FROM diffs WHERE id = $1 FOR UPDATE", diff_id)
        if row is None:
            raise NotFoundError(f"no diff {diff_id}")
        if row["status"] not in decidable:
            raise ConflictError(f"diff {diff_id} is {row['status']}, not {' or '.join(decidable)}")
        if status == "approved" and not _can_be_decided(view(row)):
            raise ConflictError(f"no side can be chosen; {row['reason']}: correct that, or reject the diff")
        row = await connection.fetchrow(
            """
            UPDATE diffs SET status = $2, resolution = $3, decided_by = $4, decision = $5,
                closed_at = CASE WHEN $2 = 'rejected' THEN now() END
            WHERE id = $1 RETURNING *
            """,
            diff_id,
            status,
            side,
            by,
            reason,
        )
        entity, key = row["entity"], row["key"]
        await record(
            connection, name, by=by, target=str(diff_id), reason=reason,
            detail={"side": side}, run_id=row["run_id"], entity=entity, key=key,
        )  # fmt: skip
        if status == "approved":
            await nominate(connection, entity, [key], cause=f"approved by {by}", run_id=row["run_id"])
    return view(row)


def _can_be_decided(diff: DiffView) -> bool:
    """Whether choosing a side settles it: not where a rule has chosen and the write was refused, say."""
    if diff.kind in {"missing_document", "missing_relational"}:
        return mapping_of(diff.entity).missing(Side(diff.kind.removeprefix("missing_"))) is Missing.REVIEW
    return any(each.winner is None for each in diff.fields)


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
