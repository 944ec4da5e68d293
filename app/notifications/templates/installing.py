"""Brings the templates that the service ships into the core DB, whenever its schema is brought up to date."""

from enum import StrEnum

import asyncpg
from msgspec import Struct

from app.audit.entries import Fact
from app.notifications.templates.catalogue import insert_version, note
from app.notifications.templates.shipped import Shipped, shipped
from config.settings import Settings

BY = "migrate"


class Installed(StrEnum):
    """What became of a template that is shipped otherwise than it was."""

    USED = "used"
    """Mails are rendered from it."""
    KEPT_OUT = "kept out"
    """It is there as a version; mails stay with the one that an operator wrote or chose."""


class Installation(Struct, frozen=True):
    """A version that the service brought along."""

    template: str
    version: int
    outcome: Installed


async def ensure_shipped(settings: Settings) -> list[Installation]:
    """See that every shipped template is there as it is shipped now; answers what was added.

    A text that has changed becomes a version. It becomes current as well, unless the current one is not the last that
    was shipped: then an operator has decided so. Safe to repeat and to run twice at once; what the service ships no more
    stays.
    """
    connection = await asyncpg.connect(settings.url("core_database_url"))
    try:
        async with connection.transaction():
            made = [await _ensure(connection, each) for each in shipped().values()]
    finally:
        await connection.close()
    return [each for each in made if each is not None]


async def _ensure(connection: asyncpg.Connection, each: Shipped) -> Installation | None:
    # Another one who does the same waits for this row.
    current: int | None = await connection.fetchval(
        """
        INSERT INTO notification_templates AS t (name, kind, purpose, current) VALUES ($1, $2, $3, 0)
        ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, purpose = excluded.purpose RETURNING current
        """,
        each.name,
        each.kind,
        each.purpose,
    )
    last = await connection.fetchrow(
        """
        SELECT version, shipped_hash FROM template_versions WHERE name = $1 AND shipped_hash IS NOT NULL
        ORDER BY version DESC LIMIT 1
        """,
        each.name,
    )
    if last and last["shipped_hash"] == each.content.digest():
        return None
    outcome = Installed.USED if last is None or last["version"] == current else Installed.KEPT_OUT
    return await _add(connection, each, outcome)


async def _add(connection: asyncpg.Connection, each: Shipped, outcome: Installed) -> Installation:
    version = await insert_version(
        connection, each.name, each.content, by=BY, shipped_hash=each.content.digest()
    )
    current = await connection.fetchval(
        """
        UPDATE notification_templates SET current = CASE WHEN $3 THEN $2 ELSE current END,
            revision = revision + (current > 0)::int, updated_at = now()
        WHERE name = $1 RETURNING current
        """,
        each.name,
        version,
        outcome is Installed.USED,
    )
    detail = {"version": version, "current": current}
    await note(connection, Fact.TEMPLATE_SHIPPED, each.name, by=BY, detail=detail)
    return Installation(each.name, version, outcome)
