"""Wrong tries in a row, in the core DB: counted under what stands for the address, whether anybody has it or not."""

import asyncpg
from loguru import logger

from app.accounts.service import Accounts
from app.accounts.users import note
from app.audit.entries import Fact

MOST = 100
"""In a row; then only a new password helps (NIST SP 800-63B-4, section 3.2.2)."""

_SHOWN = 16
_FAILED = """
    INSERT INTO sign_in_failures AS known (address_hash, failures, last_at, user_id)
    VALUES ($1, 1, $2, (SELECT id FROM users WHERE email_key = $3))
    ON CONFLICT (address_hash) DO UPDATE
        SET failures = known.failures + 1, last_at = excluded.last_at, user_id = excluded.user_id
    RETURNING failures, user_id
"""


def shown(accounts: Accounts, name: str | None) -> str | None:
    """What the log shows in place of an address, of mail or of a machine: the same for the same one."""
    return None if name is None else accounts.hashing.pseudonym(name).hex()[:_SHOWN]


async def count_failure(accounts: Accounts, key: str, *, by: str, client_ip: str | None = None) -> None:
    """Count a wrong try of the account with this key, and tell of it."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_FAILED, accounts.hashing.pseudonym(key), accounts.clock(), key)
        if row["failures"] == MOST and row["user_id"]:
            await note(connection, Fact.SIGN_IN_BLOCKED, row["user_id"], by=by)
    bound = logger.bind(account=shown(accounts, key), machine=shown(accounts, client_ip), by=by)
    bound.info("signin.refused")


async def failures_of(accounts: Accounts, key: str) -> int:
    """How many tries in a row were wrong."""
    return int(
        await accounts.stores.core.fetchval(
            "SELECT COALESCE(sum(failures), 0) FROM sign_in_failures WHERE address_hash = $1",
            accounts.hashing.pseudonym(key),
        )
    )


async def forget_failures(accounts: Accounts, connection: asyncpg.Connection, user: asyncpg.Record) -> None:
    """Forget those of a user in the open transaction."""
    await connection.execute(
        "DELETE FROM sign_in_failures WHERE address_hash = $1 OR user_id = $2",
        accounts.hashing.pseudonym(user["email_key"]),
        user["id"],
    )
