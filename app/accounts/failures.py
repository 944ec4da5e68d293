"""Wrong tries in a row, in the core DB: counted under what stands for the address, whether anybody has it or not.

A user's are those since the address is theirs: what was tried before anybody had it, or while another had, is not held against them.
"""

import asyncpg
from loguru import logger

from app.accounts.service import Accounts
from app.accounts.users import note
from app.audit.entries import Fact

MOST = 100
"""In a row; then only a new password helps (NIST SP 800-63B-4, section 3.2.2)."""

_FAILED = """
    INSERT INTO sign_in_failures AS known (address_hash, failures, last_at, user_id)
    VALUES ($1, 1, $2, (SELECT id FROM users WHERE email_key = $3))
    ON CONFLICT (address_hash) DO UPDATE
        SET failures = CASE WHEN known.user_id IS NOT DISTINCT FROM excluded.user_id THEN known.failures + 1 ELSE 1 END,
            last_at = excluded.last_at, user_id = excluded.user_id
    RETURNING failures, user_id
"""


async def count_failure(accounts: Accounts, key: str, *, by: str, client_ip: str | None = None) -> None:
    """Count a wrong try of the account with this key, and tell of it."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_FAILED, accounts.hashing.pseudonym(key), accounts.clock(), key)
        if row["failures"] == MOST and row["user_id"]:
            await note(connection, Fact.SIGN_IN_BLOCKED, row["user_id"], by=by)
    tell_refusal(accounts, key, by=by, client_ip=client_ip)


def tell_refusal(accounts: Accounts, key: str, *, by: str, client_ip: str | None = None) -> None:
    """Log that somebody has not proven to be whom the account with this key belongs to."""
    shown = accounts.limits.shown
    logger.bind(account=shown(key), machine=shown(client_ip), by=by).info("signin.refused")


async def failures_of(accounts: Accounts, key: str) -> int:
    """How many tries in a row were wrong."""
    return int(
        await accounts.stores.core.fetchval(
            """
            SELECT COALESCE(sum(failures), 0) FROM sign_in_failures
            WHERE address_hash = $1 AND user_id IS NOT DISTINCT FROM (SELECT id FROM users WHERE email_key = $2)
            """,
            accounts.hashing.pseudonym(key),
            key,
        )
    )


async def forget_failures(accounts: Accounts, connection: asyncpg.Connection, user: asyncpg.Record) -> None:
    """Forget those of a user in the open transaction."""
    await connection.execute(
        "DELETE FROM sign_in_failures WHERE address_hash = $1 OR user_id = $2",
        accounts.hashing.pseudonym(user["email_key"]),
        user["id"],
    )
