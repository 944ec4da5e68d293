"""The keys that sign access tokens: ECDSA with P-256 (ES256, RFC 7518), in the core DB, encrypted, one after the other.

A key is published a day before it signs, so that whoever keeps the key set (RFC 7517) has it by then, and for as long
afterwards as a token of it may still be about. One that does not open, because what it is encrypted with is not set here, is as
none: its tokens are refused, and another one is made to sign.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec
from joserfc.jwk import ECKey
from loguru import logger

from app.accounts.encryption import Safe
from app.audit.entries import Fact
from app.audit.outbox import record
from app.clock import Clock, now

USED = timedelta(days=30)
AHEAD = timedelta(hours=25)
"""A day, and the hour after which somebody looks where nobody signs in."""
AFTERWARDS = timedelta(hours=1)
"""Longer than any token lives."""

# Any constant will do, as long as every process takes the same one.
_LOCK = 4_205_503
_LOOK_AGAIN = timedelta(seconds=60)
# Tokens with made-up ids are no reason to ask the database each time.
_LOOK_FOR_UNKNOWN = timedelta(seconds=1)
_CURVE = "P-256"


@dataclass(frozen=True)
class TokenKey:
    """A key pair, and when it signs."""

    id: str
    key: ECKey
    used_from: datetime
    used_until: datetime


@dataclass
class TokenKeys:
    """The keys of this moment, read again every minute. Every method raises what the core DB's driver raises."""

    core: asyncpg.Pool
    safe: Safe
    clock: Clock = now
    _known: list[TokenKey] = field(default_factory=list)
    _read_at: datetime | None = None
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closed: set[str] = field(default_factory=set)

    async def signing(self) -> TokenKey:
        """The key that signs now; the next one is made in time."""
        moment = self.clock()
        found = _signing(await self._current(moment, _LOOK_AGAIN), moment)
        if found is None or found.used_until - moment < AHEAD:
            await self._renew(moment)
            found = _signing(self._known, moment)
        if found is None:
            raise RuntimeError("no key signs although one was just made")
        return found

    async def public(self) -> list[dict[str, Any]]:
        """The key set that others verify by, as JWKs; the next key is among it."""
        await self.signing()
        return [_published(each) for each in self._known]

    async def verifying(self, key: str) -> ECKey | None:
        """The key with this id, while tokens of it may be about."""
        found = _named(await self._current(self.clock(), _LOOK_AGAIN), key)
        # Another process may have made it just now.
        return found or _named(await self._current(self.clock(), _LOOK_FOR_UNKNOWN), key)

    async def _current(self, moment: datetime, age: timedelta) -> list[TokenKey]:
        """The keys as they were at most so long ago."""
        async with self._reading:
            if self._read_at is None or moment - self._read_at > age:
                await self._read(moment)
        return self._known

    async def _read(self, moment: datetime) -> None:
        self._known, self._read_at = await self._published(self.core, moment), moment

    async def _published(
        self, connection: asyncpg.Connection | asyncpg.Pool, moment: datetime
    ) -> list[TokenKey]:
        rows = await connection.fetch(
            "SELECT * FROM token_keys WHERE published_until > $1 ORDER BY used_from, id", moment
        )
        opened = [(row, self._opened(row)) for row in rows]
        for row, key in opened:
            if key and not self.safe.is_current(row["private_key"]):
                await self._lock_anew(connection, row["private_key"], key)
        return [key for _, key in opened if key]

    def _opened(self, row: asyncpg.Record) -> TokenKey | None:
        try:
            private = self.safe.open(row["private_key"], place=_place(row["id"]))
        except ValueError as error:
            if row["id"] not in self._closed:
                logger.bind(key=row["id"], reason=str(error)).error("key.skipped")
                self._closed.add(row["id"])
            return None
        key = ECKey.import_key(msgspec.json.decode(private))
        return TokenKey(row["id"], key, row["used_from"], row["used_until"])

    async def _lock_anew(
        self, connection: asyncpg.Connection | asyncpg.Pool, locked: str, key: TokenKey
    ) -> None:
        await connection.execute(
            "UPDATE token_keys SET private_key = $3 WHERE id = $1 AND private_key = $2",
            key.id,
            locked,
            self._locked(key.id, key.key),
        )

    def _locked(self, name: str, key: ECKey) -> str:
        return self.safe.lock(msgspec.json.encode(key.as_dict(private=True)), place=_place(name))

    async def _renew(self, moment: datetime) -> None:
        """Make the key that is missing: one for now, or the one that comes next."""
        async with self.core.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            known = await self._published(connection, moment)
            until = max((each.used_until for each in known), default=moment)
            if until - moment < AHEAD:
                await self._make(connection, moment, max(until, moment))
        await self._read(moment)

    async def _make(self, connection: asyncpg.Connection, moment: datetime, used_from: datetime) -> None:
        key = ECKey.generate_key(_CURVE, auto_kid=True)
        name, until = str(key.kid), used_from + USED
        await connection.execute(
            "INSERT INTO token_keys VALUES ($1, $2, $3, $4, $5, $6, $7)",
            name,
            self._locked(name, key),
            msgspec.json.encode(key.as_dict(private=False)).decode(),
            moment,
            used_from,
            until,
            until + AFTERWARDS,
        )
        await record(connection, Fact.TOKEN_KEY_MADE, by="core", target=name)


def _signing(keys: Sequence[TokenKey], moment: datetime) -> TokenKey | None:
    """The first key whose time is not over. That it has begun is not asked: the clock of who made it may be ahead of ours."""
    return next((each for each in keys if moment < each.used_until), None)


def _named(keys: Sequence[TokenKey], name: str) -> ECKey | None:
    return next((each.key for each in keys if each.id == name), None)


def _published(key: TokenKey) -> dict[str, Any]:
    return {**key.key.as_dict(private=False), "kid": key.id, "use": "sig", "alg": "ES256"}


def _place(key: str) -> str:
    return f"token_keys/{key}"
