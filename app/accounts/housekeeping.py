"""What is over is forgotten, and the next key of tokens is there in time, also where nobody signs in."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from loguru import logger

from app.accounts.client_authentication import MOST_LIFETIME
from app.accounts.encryption import safe_of
from app.accounts.sessions import LOST_ANSWER
from app.accounts.token_keys import TokenKeys
from app.clock import Clock, now
from app.stores.connections import Stores
from app.stores.deletion import clear_column, delete_rows
from app.stores.health import POSTGRES_FAULTS
from config.settings import SettingsError

SESSIONS_KEPT = timedelta(days=30)
"""With the refresh tokens of theirs, so that it can be told what became of one, and from where it came."""
FAILURES_KEPT = timedelta(days=30)
# The clock of whoever looks at a link or a key may be behind ours.
_CLOCKS = timedelta(hours=1)
_CLOCKS_APART = timedelta(seconds=30)


class _Over(NamedTuple):
    """Rows of a table that fulfil the condition at the moment $2, which is `kept` ago."""

    kind: str
    table: str
    kept: timedelta
    condition: str


# Refresh tokens go before their sessions; a session of which somebody holds one just now waits for the next time.
_OVER = (
    _Over("assertions", "client_assertions", MOST_LIFETIME, "expires_at < $2"),
    _Over("links", "account_links", _CLOCKS, "expires_at < $2"),
    _Over("keys", "token_keys", _CLOCKS, "published_until < $2"),
    _Over(
        "refreshes",
        "refresh_tokens",
        SESSIONS_KEPT,
        "session_id IN (SELECT id FROM sessions WHERE expires_at < $2)",
    ),
    _Over(
        "sessions",
        "sessions",
        SESSIONS_KEPT,
        "expires_at < $2 AND NOT EXISTS (SELECT FROM refresh_tokens WHERE session_id = sessions.id)",
    ),
    # Those of a user stay until a new password is set, or a sign-in succeeds.
    _Over(
        "failures",
        "sign_in_failures",
        FAILURES_KEPT,
        "last_at < $2 AND user_id IS NULL",
    ),
)


async def keep_house(stores: Stores, clock: Clock = now) -> Mapping[str, int]:
    """Forget what is over, and make the next key of tokens when it is time; answers how many of each kind are gone.

    What cannot be done now is logged, and holds up nothing else.
    """
    moment = clock()
    gone = {each.kind: await _forget(stores, each, moment) for each in _OVER}
    await _forget_answers(stores, moment)
    if any(gone.values()):
        logger.bind(**gone).info("accounts.trimmed")
    await _renew_keys(stores, clock)
    return gone


async def _forget(stores: Stores, over: _Over, moment: datetime) -> int:
    try:
        return await delete_rows(stores.core, over.table, over.condition, moment - over.kept)
    except POSTGRES_FAULTS as error:
        logger.bind(kind=over.kind, fault=type(error).__name__).warning("accounts.kept")
        return 0


async def _forget_answers(stores: Stores, moment: datetime) -> None:
    """Refresh tokens that took the place of others are told again for a moment only; then nobody needs to be able to read them."""
    try:
        await clear_column(
            stores.core, "refresh_tokens", "successor", "used_at < $2", moment - LOST_ANSWER - _CLOCKS_APART
        )
    except POSTGRES_FAULTS as error:
        logger.bind(kind="answers", fault=type(error).__name__).warning("accounts.kept")


async def _renew_keys(stores: Stores, clock: Clock) -> None:
    try:
        await TokenKeys(stores.core, safe_of(stores.settings), clock).signing()
    except (SettingsError, ValueError, *POSTGRES_FAULTS) as error:
        logger.bind(fault=type(error).__name__).warning("renewal.failed")
