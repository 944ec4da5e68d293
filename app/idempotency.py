"""Calls that are carried out once, however often they are sent (IETF draft-ietf-httpapi-idempotency-key-header-07).

The key is taken by a lock for as long as the call's transaction is open, and kept, with the answer, by that transaction:
a call that dies leaves nothing behind, and may be sent again at once.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Generic, TypeVar

import asyncpg
import msgspec
from msgspec import Struct

from app.errors import ConflictError, Fault, InvalidInputError

KEPT = timedelta(hours=24)
MOST_CHARACTERS = 255
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_BATCH = 1000

Answer = TypeVar("Answer")


class Once(Struct, Generic[Answer], frozen=True):
    """What is answered, and whether it was answered before."""

    answer: Answer
    replayed: bool


class Call(Struct, frozen=True):
    """Who calls, under which key, and what for: calls that ask for the same have the same fingerprint."""

    client: str
    key: str
    fingerprint: bytes


class CallInFlightError(ConflictError):
    """The same call is being carried out at this moment."""


def call_of(client: str, key: str, asked: object) -> Call:
    """The call of a client; raises InvalidInputError where the key is none."""
    if not _KEY.fullmatch(key):
        message = f"must be 1 to {MOST_CHARACTERS} visible ASCII characters, such as a UUID"
        raise InvalidInputError("no Idempotency-Key", [Fault("Idempotency-Key", message)])
    # `deterministic`: two objects that differ in the order of their members ask for the same.
    return Call(client, key, sha256(msgspec.json.encode(asked, order="deterministic")).digest())


async def once(
    connection: asyncpg.Connection,
    call: Call,
    work: Callable[[], Awaitable[Answer]],
    answer_type: type[Answer],
    *,
    moment: datetime,
) -> Once[Answer]:
    """Carry `work` out in the open transaction, unless it was; then answer as before, for a day.

    Raises CallInFlightError while another connection carries it out, InvalidInputError where the key was used for something
    else, and what `work` raises: then nothing is kept.
    """
    await _take(connection, call)
    if before := await answered(connection, call, answer_type, moment=moment):
        return before
    answer = await work()
    await _keep(connection, call, answer, moment)
    return Once(answer, replayed=False)


async def answered(
    core: asyncpg.Pool | asyncpg.Connection, call: Call, answer_type: type[Answer], *, moment: datetime
) -> Once[Answer] | None:
    """What the call was answered before; None where it was not. Raises InvalidInputError where its key was for something else."""
    row = await core.fetchrow(
        "SELECT fingerprint, answer FROM idempotency_keys WHERE client = $1 AND key = $2 AND expires_at > $3",
        call.client,
        call.key,
        moment,
    )
    return None if row is None else Once(_same(row, call, answer_type), replayed=True)


async def forget_keys(core: asyncpg.Pool, moment: datetime) -> int:
    """Forget keys whose day is over, some at a time; answers how many."""
    gone = await core.execute(
        """
        DELETE FROM idempotency_keys WHERE (client, key) IN
            (SELECT client, key FROM idempotency_keys WHERE expires_at <= $1 LIMIT $2)
            AND expires_at <= $1 -- it may just be used anew
        """,
        moment,
        _BATCH,
    )
    return int(gone.rpartition(" ")[2])


async def _take(connection: asyncpg.Connection, call: Call) -> None:
    name = sha256(f"{call.client}\0{call.key}".encode()).digest()[:8]
    number = int.from_bytes(name, "big", signed=True)
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", number):
        raise CallInFlightError(f"a call with the Idempotency-Key {call.key!r} is being carried out")


def _same(row: asyncpg.Record, call: Call, answer_type: type[Answer]) -> Answer:
    if row["fingerprint"] != call.fingerprint:
        message = "was used for another call within the last day"
        raise InvalidInputError("the Idempotency-Key was used before", [Fault("Idempotency-Key", message)])
    return msgspec.json.decode(row["answer"], type=answer_type)


async def _keep(connection: asyncpg.Connection, call: Call, answer: object, moment: datetime) -> None:
    await connection.execute(
        """
        INSERT INTO idempotency_keys (client, key, fingerprint, answer, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (client, key) DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer,
            created_at = excluded.created_at, expires_at = excluded.expires_at
        """,
        call.client,
        call.key,
        call.fingerprint,
        msgspec.json.encode(answer).decode(),
        moment,
        moment + KEPT,
    )
