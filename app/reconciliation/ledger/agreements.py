"""Agreements: which versions of a record's two sides were read and found to agree, in the core DB.

A version is the `updated_at` that a side held. A watermark tells over and over of what changed in its overlap, mostly of
records that an event or an earlier run has had looked at: as long as it tells of the very version that agreed, another
look would be in vain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from app.reconciliation.mapping import Side

# Every run that comes in time reads less far back: its watermarks' overlap, and the minute between two runs.
_KEPT = "10 minutes"


@dataclass(frozen=True)
class Agreement:
    """The versions of one record that agree.

    Each was at least a settle window old when it was read: whatever its owner writes later is another version.
    """

    entity: str
    key: str
    document_at: datetime
    relational_at: datetime


async def agree(core: asyncpg.Pool, agreements: Sequence[Agreement]) -> None:
    """Record agreements, at most one per record, in place of those that were."""
    if not agreements:
        return
    # In one order, as with suspects: nobody waits for another in a circle.
    await core.execute(
        """
        INSERT INTO agreements (entity, key, document_at, relational_at)
        SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) AS given (entity, key)
        ORDER BY entity COLLATE "C", key COLLATE "C"
        ON CONFLICT (entity, key) DO UPDATE SET
            document_at = EXCLUDED.document_at, relational_at = EXCLUDED.relational_at, agreed_at = now()
        """,
        [each.entity for each in agreements],
        [each.key for each in agreements],
        [each.document_at for each in agreements],
        [each.relational_at for each in agreements],
    )


async def not_agreed(
    connection: asyncpg.Connection, entity: str, side: Side, versions: Sequence[tuple[str, datetime | None]]
) -> set[str]:
    """The keys of those versions on a side that no agreement is about; documents keep milliseconds, so these count."""
    rows = await connection.fetch(
        f"""
        SELECT given.key FROM unnest($2::text[], $3::timestamptz[]) AS given (key, version)
        LEFT JOIN agreements ON agreements.entity = $1 AND agreements.key = given.key
            AND date_trunc('milliseconds', agreements.{side}_at) = date_trunc('milliseconds', given.version)
        WHERE agreements.key IS NULL
        """,
        entity,
        [key for key, _version in versions],
        [version for _key, version in versions],
    )
    return {row["key"] for row in rows}


async def forget(core: asyncpg.Pool) -> None:
    """Delete the agreements that no run has a use for."""
    await core.execute(
        f"""
        DELETE FROM agreements WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM agreements WHERE agreed_at < now() - interval '{_KEPT}' FOR UPDATE SKIP LOCKED))
        """
    )
