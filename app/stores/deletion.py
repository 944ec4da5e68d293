"""Deleting many rows, or what stands in one column of them: in batches that no time-out cuts short, and that nobody waits for."""

import asyncpg

# Rows changed by one statement.
BATCH = 5000


async def delete_rows(core: asyncpg.Pool, table: str, condition: str, *arguments: object) -> int:
    """Delete the rows that fulfil a condition, whose parameters count from $2; answers how many.

    What is locked is left for later. Raises what the core DB's driver raises; the batches before that are gone then.
    """
    return await _in_batches(core, f"DELETE FROM {table}", table, condition, arguments)


async def clear_column(
    core: asyncpg.Pool, table: str, column: str, condition: str, *arguments: object
) -> int:
    """Make a column null where it is not and a condition is fulfilled, as rows are deleted; answers of how many rows."""
    change, held = f"UPDATE {table} SET {column} = NULL", f"{column} IS NOT NULL AND {condition}"
    return await _in_batches(core, change, table, held, arguments)


async def _in_batches(
    core: asyncpg.Pool, change: str, table: str, condition: str, arguments: tuple[object, ...]
) -> int:
    changed, last = 0, BATCH
    while last == BATCH:
        answer = await core.execute(
            f"""
            {change} WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM {table} WHERE {condition} LIMIT $1 FOR UPDATE SKIP LOCKED))
            """,
            BATCH,
            *arguments,
        )
        last = int(answer.split()[-1])
        changed += last
    return changed
