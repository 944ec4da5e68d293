"""The second factor: codes of six digits that change every thirty seconds (TOTP, RFC 6238).

Recovery codes are for the day on which the device is lost. No code is good twice.
"""

import secrets
from datetime import datetime
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from loguru import logger

from app.accounts.encryption import Safe
from app.accounts.secrets import hash_of

STEP_SECONDS = 30
KEY_BYTES = 20
RECOVERY_CODES = 10
_DIGITS = 6
# Clocks differ: the code before and the one after are good too (RFC 6238, section 5.2).
_DRIFT = (0, -1, 1)
_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"  # none is mistaken for another
_RECOVERY_LENGTH = 24
ISSUER = "AstroBookings"


def new_key() -> bytes:
    """A key for a new device."""
    return secrets.token_bytes(KEY_BYTES)


def uri_of(key: bytes, account: str) -> str:
    """What a QR code shows to an authenticator app."""
    return _totp(key).get_provisioning_uri(account, ISSUER)


def step_of(key: bytes, code: str, moment: datetime) -> int | None:
    """The step of time that a code is of; None where it is of none near this moment."""
    present, found = int(moment.timestamp()) // STEP_SECONDS, None
    for drift in _DRIFT:  # all of them, so that every wrong code takes as long
        try:
            _totp(key).verify(code.encode(errors="replace"), (present + drift) * STEP_SECONDS)
        except InvalidToken:
            continue
        found = present + drift
    return found


def new_recovery_codes() -> list[str]:
    """Codes to print out; each is good once. Some 118 bits each: as their hashes they are safe to keep (ASVS 5.0, 6.5.2)."""
    return [
        "".join(secrets.choice(_ALPHABET) for _ in range(_RECOVERY_LENGTH)) for _ in range(RECOVERY_CODES)
    ]


def place_of(user: UUID) -> str:
    """Where the key of a user's device is locked, see `Safe`."""
    return f"users/{user}/totp"


async def take_code(
    connection: asyncpg.Connection, safe: Safe, row: asyncpg.Record, code: str, moment: datetime
) -> str | None:
    """Use a code of the user in `row`, in the open transaction; answers the method (RFC 8176), None where it is wrong."""
    spelled = code.replace(" ", "").replace("-", "").lower()
    if len(spelled) == _DIGITS:
        key = await _opened(connection, safe, row)
        step = step_of(key, spelled, moment) if key else None
        return "otp" if step is not None and await _take_step(connection, row["id"], step) else None
    taken = await connection.fetchval(
        "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL RETURNING user_id",
        row["id"],
        hash_of(spelled),
        moment,
    )
    return "recovery" if taken else None


async def _opened(connection: asyncpg.Connection, safe: Safe, row: asyncpg.Record) -> bytes | None:
    """The key of the user's device, which is locked with the present key from now on; None where it does not open."""
    place = place_of(row["id"])
    try:
        key = safe.open(row["totp_key"], place=place)
    except ValueError as error:
        logger.bind(user=row["id"], reason=str(error)).error("device.refused")
        return None
    if not safe.is_current(row["totp_key"]):
        await connection.execute(
            "UPDATE users SET totp_key = $2 WHERE id = $1", row["id"], safe.lock(key, place=place)
        )
    return key


async def _take_step(connection: asyncpg.Connection, user: UUID, step: int) -> bool:
    """Whether no code of this step or a later one was taken before."""
    taken = await connection.fetchval(
        "UPDATE users SET totp_step = $2 WHERE id = $1 AND totp_step < $2 RETURNING id", user, step
    )
    return taken is not None


def _totp(key: bytes) -> TOTP:
    return TOTP(key, _DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303  (what every authenticator app knows; RFC 6238 keeps HMAC-SHA-1)
