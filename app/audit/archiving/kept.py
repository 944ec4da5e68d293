"""What the core DB keeps of archives. Only a tombstone counts there; the other columns help queries, and nobody has signed them."""

from typing import Any

import asyncpg

from app.audit.archiving.tombstones import Tombstone
from app.audit.sealing.stream import ChainBrokenError

LAST = "SELECT number, tombstone FROM audit_archives ORDER BY number DESC LIMIT 1"
_KEEP = """
    INSERT INTO audit_archives (number, first_sequence, last_sequence, file, bytes, tombstone)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING number
"""


def read_kept(row: Any) -> Tombstone:
    """The tombstone of a row; raises ChainBrokenError where it is none, or that of another number."""
    place = f"archive {row['number']}"
    try:
        tombstone = Tombstone.read(row["tombstone"])
    except ValueError as error:
        raise ChainBrokenError(place, f"its tombstone cannot be read: {error}") from error
    if tombstone.number != row["number"]:
        raise ChainBrokenError(place, f"it has the tombstone of archive {tombstone.number}")
    return tombstone


async def keep_tombstone(core: asyncpg.Connection, tombstone: Tombstone, text: str, size: int) -> bool:
    """Keep a tombstone, of a file of so many bytes; False where there is one with its number."""
    values = (tombstone.number, tombstone.first, tombstone.last, tombstone.file, size, text)
    return await core.fetchval(_KEEP, *values) is not None
