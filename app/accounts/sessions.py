"""Sessions: a sign-in, and the refresh tokens that come one after the other from it (RFC 9700, section 4.14).

A refresh token is good once. Whoever uses one a second time may have stolen it, or may have been stolen from: the session ends.
Only an answer that was lost may be asked for again, for ten seconds, and is the same then.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from loguru import logger
from msgspec import Struct

from app.accounts.permissions import Role, Scope, counting, scopes_of
from app.accounts.secrets import hash_of, new_secret
from app.accounts.service import Accounts
from app.accounts.token_keys import TokenKey
from app.accounts.tokens import LIFETIME, SignIn
from app.accounts.users import end_sessions, lock_user, note
from app.accounts.views import SessionView, Status
from app.audit.entries import Fact
from app.errors import CoreError, NotFoundError
from app.stores.connections import Stores

IDLE = timedelta(hours=1)
ABSOLUTE = timedelta(hours=24)
MOST_OPEN = 50
"""Sessions of a user at a time."""
LOST_ANSWER = timedelta(seconds=10)
_PREFIX = "acr"
# That somebody is still there is noted once a minute, not with each call.
_NOTED = timedelta(minutes=1)

_HELD = """
    SELECT token.token_hash, token.used_at AS token_used_at, token.expires_at AS idle_until, token.successor,
        token.successor_hash, sessions.*
    FROM refresh_tokens AS token JOIN sessions ON sessions.id = session_id
    WHERE token_hash = $1 FOR UPDATE OF token, sessions
"""
# Before the session: whoever changes a user locks the two in this order.
_HOLDER = """
    SELECT status, roles FROM users WHERE id = (
        SELECT user_id FROM refresh_tokens JOIN sessions ON sessions.id = session_id WHERE token_hash = $1)
    FOR SHARE
"""
# Of a session with at least one refresh token that is good still: an hour after the last one it is idle, and over.
_IS_OPEN = """
    ended_at IS NULL AND sessions.expires_at > {moment} AND EXISTS (
        SELECT FROM refresh_tokens AS token WHERE session_id = sessions.id AND token.used_at IS NULL AND token.expires_at > {moment})
"""
_GOES_ON = """
    SELECT token_hash, token.expires_at AS idle_until, sessions.*, roles, scopes
    FROM refresh_tokens AS token JOIN sessions ON sessions.id = session_id JOIN users ON users.id = user_id
        JOIN clients ON name = client
    WHERE token_hash = $1 AND name = $2 AND clients.status = 'active' AND users.status = 'active' AND ended_at IS NULL
        AND token.expires_at > $3
"""


class RefreshRefusedError(CoreError):
    """The refresh token is none, has expired or was used before, or its session has ended: nobody is told which."""

    def __init__(self) -> None:
        super().__init__("the refresh token is not good any more; sign in again")


class Origin(Struct, frozen=True):
    """Through which client somebody signed in, how, and from where, as the client says."""

    client: str
    methods: Sequence[str]
    client_ip: str | None = None
    device: str | None = None


class Started(Struct, frozen=True):
    """A session with the refresh token that is good now."""

    session: UUID
    user: UUID
    client: str
    methods: Sequence[str]
    at: datetime
    refresh_token: str


class Held(Struct, frozen=True):
    """A session that goes on: who holds it, the roles that count and what they come to now, and since when."""

    session: UUID
    user: UUID
    roles: Sequence[Role]
    scopes: Sequence[Scope]
    at: datetime


class SignedIn(Struct, frozen=True):
    """What a client gets (RFC 6749, section 5.1): both tokens, how long the first is good, and what it may do."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    scope: str
    session: UUID
    user: UUID


async def start(connection: asyncpg.Connection, user: UUID, origin: Origin, moment: datetime) -> Started:
    """Start a session in the open transaction, which has the user locked. Of too many that are open the oldest ends."""
    await _make_room(connection, user, f"client:{origin.client}", moment)
    session = await connection.fetchval(
        """
        INSERT INTO sessions (user_id, client, methods, client_ip, device, created_at, used_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6, $7) RETURNING id
        """,
        user,
        origin.client,
        origin.methods,
        origin.client_ip,
        origin.device,
        moment,
        moment + ABSOLUTE,
    )
    token = await _add_token(connection, session, moment, moment + ABSOLUTE)
    detail = {"session": str(session), "methods": list(origin.methods)}
    await note(connection, Fact.SIGNED_IN, user, by=f"client:{origin.client}", detail=detail)
    return Started(session, user, origin.client, origin.methods, moment, token)


async def _make_room(connection: asyncpg.Connection, user: UUID, by: str, moment: datetime) -> None:
    """End the oldest of those in which the user still is, where one more would be too many."""
    ended = await connection.fetch(
        f"""
        UPDATE sessions SET ended_at = now(), ended_because = 'there were too many' WHERE id IN (
            SELECT id FROM sessions WHERE user_id = $1 AND {_IS_OPEN.format(moment="$2")} ORDER BY id DESC OFFSET $3)
        RETURNING id
        """,
        user,
        moment,
        MOST_OPEN - 1,
    )
    for row in ended:
        detail = {"session": str(row["id"])}
        await note(connection, Fact.SIGNED_OUT, user, by=by, reason="there were too many", detail=detail)


def tokens_of(
    accounts: Accounts,
    started: Started,
    user: asyncpg.Record,
    client_scopes: Collection[Scope],
    key: TokenKey,
) -> SignedIn:
    """The answer to whoever signs in or refreshes. `user` has the roles of this moment; told are those that count."""
    roles = counting(user["roles"], started.methods, strict=accounts.strict)
    scopes = scopes_of(roles, client_scopes)
    sign_in = SignIn(started.session, started.user, roles, started.at, started.methods)
    issued = accounts.tokens.for_user(sign_in, started.client, scopes, key)
    return SignedIn(
        access_token=issued.token,
        token_type="Bearer",  # noqa: S106  (the name of a scheme)
        expires_in=int(LIFETIME.total_seconds()),
        refresh_token=started.refresh_token,
        scope=issued.claims.scope,
        session=started.session,
        user=started.user,
    )


async def refresh(accounts: Accounts, token: str, client: str, scopes: Collection[Scope]) -> SignedIn:
    """Fresh tokens for one that is good. Raises RefreshRefusedError; a token that is used twice ends its session."""
    moment, key = accounts.clock(), await accounts.tokens.keys.signing()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        user = await connection.fetchrow(_HOLDER, hash_of(token))
        may_go_on = user is not None and user["status"] == Status.ACTIVE
        row = await connection.fetchrow(_HELD, hash_of(token)) if may_go_on else None
        started = await _next(accounts, connection, row, client, moment) if row else None
    if started is None:
        raise RefreshRefusedError
    return tokens_of(accounts, started, user, scopes, key)


async def stay(accounts: Accounts, token: str, client: str) -> Held | None:
    """The session of a refresh token by which a client stays signed in as it is; None where it is over.

    It is idle from now on, and ends an hour later, or up to a minute sooner.
    """
    moment = accounts.clock()
    row = await accounts.stores.core.fetchrow(_GOES_ON, hash_of(token), client, moment)
    if row is None:
        return None
    until = min(moment + IDLE, row["expires_at"])
    if until - row["idle_until"] >= _NOTED:
        await accounts.stores.core.execute(
            """
            WITH token AS (UPDATE refresh_tokens SET expires_at = $2 WHERE token_hash = $1 RETURNING session_id)
            UPDATE sessions SET used_at = $3 FROM token WHERE id = session_id
            """,
            row["token_hash"],
            until,
            moment,
        )
    roles = counting(row["roles"], row["methods"], strict=accounts.strict)
    scopes = scopes_of(roles, [Scope(each) for each in row["scopes"]])
    return Held(row["id"], row["user_id"], roles, scopes, row["created_at"])


class Exchange(Struct, frozen=True):
    """Another token in place of one by which somebody stays signed in: whoever has a copy of that one has nothing any more."""

    old: str
    fresh: str


def exchange_of(token: str) -> Exchange:
    """Another token for this one; nothing is exchanged yet."""
    return Exchange(token, new_secret(_PREFIX))


async def rekey(connection: asyncpg.Connection, exchange: Exchange | None) -> None:
    """Exchange the tokens in the open transaction, with what the fresh one is for: both are done, or neither.

    Before a session is touched there: whoever stays signed in locks token and session in this order.
    """
    if exchange:
        await connection.execute(
            "UPDATE refresh_tokens SET token_hash = $2 WHERE token_hash = $1",
            hash_of(exchange.old),
            hash_of(exchange.fresh),
        )


async def _next(
    accounts: Accounts, connection: asyncpg.Connection, row: asyncpg.Record, client: str, moment: datetime
) -> Started | None:
    """The token that follows; None where none does. A stolen one ends the session, in this same transaction."""
    if row["ended_at"] or moment >= row["expires_at"]:
        return None
    if row["client"] != client:
        await _replayed(connection, row, f"client:{client}")
        return None
    if row["token_used_at"]:
        return await _again(accounts, connection, row, moment)
    if moment >= row["idle_until"]:
        return None
    fresh = await _add_token(connection, row["id"], moment, row["expires_at"])
    await connection.execute(
        "UPDATE refresh_tokens SET used_at = $2, successor = $3, successor_hash = $4 WHERE token_hash = $1",
        row["token_hash"],
        moment,
        accounts.safe.lock(fresh.encode(), place=_place(row)),
        hash_of(fresh),
    )
    # The answer that told this token has arrived: it is not asked for again.
    await connection.execute(
        "UPDATE refresh_tokens SET successor = NULL WHERE session_id = $1 AND successor_hash = $2",
        row["id"],
        row["token_hash"],
    )
    await connection.execute("UPDATE sessions SET used_at = $2 WHERE id = $1", row["id"], moment)
    return _started(row, fresh)


async def _again(
    accounts: Accounts, connection: asyncpg.Connection, row: asyncpg.Record, moment: datetime
) -> Started | None:
    """The answer that was given before, where it may have been lost; else this is a theft."""
    used = await connection.fetchval(
        "SELECT used_at FROM refresh_tokens WHERE token_hash = $1", row["successor_hash"]
    )
    if used is None and row["successor"] and moment - row["token_used_at"] <= LOST_ANSWER:
        return _started(row, accounts.safe.open(row["successor"], place=_place(row)).decode())
    await _replayed(connection, row, f"client:{row['client']}")
    return None


async def _replayed(connection: asyncpg.Connection, row: asyncpg.Record, by: str) -> None:
    await _end(connection, row["id"], "a refresh token was used twice")
    detail = {"session": str(row["id"])}
    await note(connection, Fact.TOKEN_REPLAYED, row["user_id"], by=by, detail=detail)
    logger.bind(session=row["id"], user=row["user_id"]).warning("session.replayed")


async def list_sessions(stores: Stores, user: UUID) -> list[SessionView]:
    """The sessions of a user that have not ended, and in which they still are, the latest first."""
    rows = await stores.core.fetch(
        f"""
        SELECT id, client, methods, host(client_ip) AS client_ip, device, created_at, used_at, expires_at FROM sessions
        WHERE user_id = $1 AND {_IS_OPEN.format(moment="now()")} ORDER BY id DESC
        """,
        user,
    )
    return [SessionView(**row) for row in rows]


async def sign_out(stores: Stores, user: UUID, session: UUID, *, by: str) -> None:
    """End one session of a user; that it has ended already is no fault. Raises NotFoundError where it is not theirs."""
    async with stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "SELECT ended_at FROM sessions WHERE id = $1 AND user_id = $2 FOR UPDATE", session, user
        )
        if row is None:
            raise NotFoundError(f"no session {session}")
        if row["ended_at"] is None:
            await _end(connection, session, "signed out")
            await note(connection, Fact.SIGNED_OUT, user, by=by, detail={"session": str(session)})


async def sign_out_everywhere(stores: Stores, user: UUID, *, by: str, may_grant: Collection[Role]) -> int:
    """End every session of a user; answers how many. Raises NotFoundError, ForbiddenError."""
    async with stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
        ended = await end_sessions(connection, user, because="signed out everywhere")
        if ended:
            await note(connection, Fact.SIGNED_OUT, user, by=by, detail={"sessions": ended})
    return ended


async def session_of_token(stores: Stores, token: str, client: str) -> tuple[UUID, UUID] | None:
    """User and session of a refresh token that this client holds, whatever became of it."""
    row = await stores.core.fetchrow(
        """
        SELECT user_id, sessions.id FROM refresh_tokens JOIN sessions ON sessions.id = session_id
        WHERE token_hash = $1 AND client = $2
        """,
        hash_of(token),
        client,
    )
    return (row["user_id"], row["id"]) if row else None


async def is_alive(stores: Stores, session: UUID) -> bool:
    """Whether a session goes on and is not idle, and its user may be signed in."""
    found: bool = await stores.core.fetchval(
        f"""
        SELECT EXISTS (SELECT FROM sessions JOIN users ON users.id = user_id
            WHERE sessions.id = $1 AND {_IS_OPEN.format(moment="now()")} AND status = 'active')
        """,
        session,
    )
    return found


async def _end(connection: asyncpg.Connection, session: UUID, because: str) -> None:
    await connection.execute(
        "UPDATE sessions SET ended_at = now(), ended_because = $2 WHERE id = $1 AND ended_at IS NULL",
        session,
        because,
    )


async def _add_token(
    connection: asyncpg.Connection, session: UUID, moment: datetime, latest: datetime
) -> str:
    token = new_secret(_PREFIX)
    await connection.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        hash_of(token),
        session,
        moment,
        min(moment + IDLE, latest),
    )
    return token


def _started(row: asyncpg.Record, token: str) -> Started:
    return Started(row["id"], row["user_id"], row["client"], row["methods"], row["created_at"], token)


def _place(row: asyncpg.Record) -> str:
    return f"refresh_tokens/{row['token_hash'].hex()}"
