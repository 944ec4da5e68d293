"""A person's values leave the diffs: the fields keep their names, and nothing else tells what they held."""

import asyncpg

from app.reconciliation.ledger.diffs import IN_ORDER
from app.reconciliation.mapping import mappings

# Of an entity that is no longer declared nobody knows what is personal: all of it goes.
_IS_PERSONAL = """
((diffs.entity, field ->> 'name') IN (SELECT * FROM unnest($4::text[], $5::text[])) OR diffs.entity <> ALL($6::text[]))
"""
# A diff without fields is of a record that one side lacks: its fingerprint is made of the whole record.
_HOLDS_VALUES = f"""
erased_at IS NULL AND kind <> 'unreadable_key'
AND ((entity = $1 AND key = $2) OR (persons <> '{{}}' AND persons @> ARRAY[$3::text]))
AND (fields = '[]' OR EXISTS (SELECT FROM jsonb_array_elements(fields) AS field WHERE {_IS_PERSONAL}))
"""
# A fingerprint is a hash of the values, which whoever guesses them could tell; the reason of a broken invariant quotes them.
_ERASE = f"""
UPDATE diffs SET erased_at = now(), fingerprint = 'erased',
    reason = CASE WHEN invariant = '' THEN reason ELSE 'erased' END,
    fields = COALESCE((
        SELECT jsonb_agg(CASE WHEN {_IS_PERSONAL}
            THEN field || '{{"document": null, "relational": null, "value": null}}' ELSE field END ORDER BY place)
        FROM jsonb_array_elements(fields) WITH ORDINALITY AS each (field, place)), '[]')
FROM (SELECT id FROM diffs WHERE {_HOLDS_VALUES} {IN_ORDER} FOR UPDATE) AS held
WHERE diffs.id = held.id RETURNING entity, key
"""
_VALUES = f"""
SELECT DISTINCT entity, field ->> 'name' AS name, held.text FROM diffs, jsonb_array_elements(fields) AS field,
    LATERAL (VALUES (field ->> 'document'), (field ->> 'relational')) AS held (text)
WHERE {_HOLDS_VALUES} AND {_IS_PERSONAL} AND held.text IS NOT NULL AND cardinality(persons) <= 1
"""


async def count_diffs(core: asyncpg.Pool, entity: str, key: str) -> int:
    """How many diffs hold values of a person."""
    return int(await core.fetchval(f"SELECT count(*) FROM diffs WHERE {_HOLDS_VALUES}", *_about(entity, key)))


async def values_in_diffs(core: asyncpg.Pool, entity: str, key: str) -> list[tuple[str, str, str]]:
    """The values of a person that diffs hold: each with its entity and field, as text."""
    rows = await core.fetch(_VALUES, *_about(entity, key))
    return [(row["entity"], row["name"], row["text"]) for row in rows]


async def erase_diffs(connection: asyncpg.Connection, entity: str, key: str) -> list[tuple[str, str]]:
    """Erase a person's values from diffs of every status; answers the record of each diff that held some.

    A rejected diff no longer tells for which values it was rejected: a record that is still there is looked at anew.
    """
    return [(row["entity"], row["key"]) for row in await connection.fetch(_ERASE, *_about(entity, key))]


def _about(entity: str, key: str) -> tuple[str | None, str, str, list[str], list[str], list[str]]:
    known = mappings()
    personal = [(each.entity, name) for each in known.values() for name in sorted(each.personal_fields)]
    # Of records that name their person each diff says whose values it holds.
    own = None if entity in known and known[entity].whose else entity
    return (
        own,
        key,
        f"{entity}/{key}",
        [each for each, _ in personal],
        [name for _, name in personal],
        list(known),
    )
