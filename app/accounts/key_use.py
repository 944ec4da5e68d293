"""How much there is under each named key, so that one can be taken away once nothing is."""

import asyncpg

PASSWORDS = "SELECT split_part(password_hash, ':', 1) AS key, count(*) AS rows FROM users WHERE password_hash <> '' GROUP BY key"
SECRETS = """
    SELECT split_part(locked, ':', 1) AS key, count(*) AS rows FROM (
        SELECT totp_key AS locked FROM users WHERE totp_key IS NOT NULL
        UNION ALL SELECT private_key FROM token_keys
        UNION ALL SELECT successor FROM refresh_tokens WHERE successor IS NOT NULL
    ) AS every GROUP BY key
"""
IN_USE = {"password_peppers": PASSWORDS, "encryption_keys": SECRETS}
"""The settings that name keys, each with the query that counts what is hashed or encrypted under which."""


async def count_rows(connection: asyncpg.Connection, setting: str) -> dict[str, int]:
    """How many rows of the core DB need each key of a setting."""
    return {row["key"]: row["rows"] for row in await connection.fetch(IN_USE[setting])}
