"""What a database is like beside its rows, and how it is made so again."""

from dataclasses import dataclass

import asyncpg

_OURS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
# Whatever a test may have changed, but for rows: a database in which this is another one is made anew.
_SHAPE = f"""
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT concat_ws(' ', nspname, nspacl) AS line FROM pg_namespace WHERE nspname NOT LIKE 'pg_%temp_%'
        UNION ALL SELECT concat_ws(' ', oid::regclass, relkind, relacl, reloptions, relrowsecurity) FROM pg_class
            WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname {_OURS})
        UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid::regtype, atttypmod, attnotnull,
                attcollation::regcollation, atthasdef, attgenerated, attacl)
            FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM pg_class
            WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname {_OURS}))
        UNION ALL SELECT concat_ws(' ', conname, conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        UNION ALL SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid) FROM pg_index WHERE indexrelid > 16383
        UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger
        UNION ALL SELECT concat_ws(' ', oid::regprocedure, prosrc) FROM pg_proc WHERE oid > 16383
        UNION ALL SELECT concat_ws(' ', oid::regtype, typtype) FROM pg_type WHERE oid > 16383
        UNION ALL SELECT concat_ws(' ', rulename, ev_class::regclass) FROM pg_rewrite WHERE oid > 16383
        UNION ALL SELECT collname FROM pg_collation WHERE oid > 16383
        UNION ALL SELECT 'analyzed ' || starelid::regclass FROM pg_statistic WHERE starelid > 16383
        UNION ALL SELECT array_to_string(setconfig, ' ') FROM pg_db_role_setting JOIN pg_database ON oid = setdatabase
            WHERE datname = current_database()
    ) AS lines
"""
# Another one after every change of a catalogue, and told much sooner than what has changed.
_CATALOGUES = """
    pg_class pg_attribute pg_attrdef pg_constraint pg_index pg_trigger pg_proc pg_type pg_rewrite pg_collation
    pg_namespace pg_statistic pg_db_role_setting
"""
_VERSION = "SELECT md5(concat_ws(',', {}))".format(
    ", ".join(
        f"(SELECT concat(count(*), ' ', sum(hashtext(xmin::text))) FROM {each})"
        for each in _CATALOGUES.split()
    )
)
# What tests add is dropped by such a name.
_OBJECTS = f"""
    SELECT concat_ws(' ', 'TABLE', oid::regclass) FROM pg_class
        WHERE relkind = 'r' AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname {_OURS})
    UNION ALL SELECT concat_ws(' ', 'TYPE', oid::regtype) FROM pg_type WHERE typtype IN ('d', 'e') AND oid > 16383
    UNION ALL SELECT concat_ws(' ', 'FUNCTION', oid::regprocedure) FROM pg_proc WHERE prokind = 'f' AND oid > 16383
"""
_USED = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relkind = 'r' AND oid > 16383 AND (pg_relation_size(oid) > 0 OR reltuples >= 0)
"""


@dataclass(frozen=True)
class Shape:
    """What a database is like before a test has used it; `kept` are tables that hold something then."""

    described: str
    objects: frozenset[str]
    kept: frozenset[str]


async def shape_of(connection: asyncpg.Connection) -> Shape:
    objects, used = [await _names(connection, each) for each in (_OBJECTS, _USED)]
    return Shape(await connection.fetchval(_SHAPE), frozenset(objects), frozenset(used))


async def empty(connection: asyncpg.Connection, shape: Shape, version: str | None) -> str | None:
    """Drop what a test has added, and empty every table; None where the database still is another one.

    Takes the version that was answered when the database was emptied last, and answers the one that it has now.
    """
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    if await connection.fetchval(_VERSION) != version and not await _reshape(connection, shape):
        return None
    if used := await _names(connection, _USED) - shape.kept:
        await connection.execute(f"TRUNCATE {', '.join(used)} RESTART IDENTITY CASCADE")
    if await connection.fetchval(others) > 1:
        return None
    return str(await connection.fetchval(_VERSION))


async def _reshape(connection: asyncpg.Connection, shape: Shape) -> bool:
    """Drop what a test has added, where there is something; False where the shape still is another one."""
    if await connection.fetchval(_SHAPE) == shape.described:
        return True
    for added in await _names(connection, _OBJECTS) - shape.objects:
        await connection.execute(f"DROP {added.replace(' ', ' IF EXISTS ', 1)} CASCADE")
    return bool(await connection.fetchval(_SHAPE) == shape.described)


async def _names(connection: asyncpg.Connection, query: str) -> set[str]:
    return {row[0] for row in await connection.fetch(query)}
