"""Who calls: what an access token says, held to what is true at this moment.

A token says what was true when it was issued. Whether its session goes on, its user may be signed in, its client is let in and the
credential is good that the client got it with, and what user and client may do now, is asked of the core DB with every call: whoever is
signed out is out at once, and whatever is taken from somebody is gone at once.
"""

from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct, structs

from app.accounts import sessions
from app.accounts.permissions import Role, Scope, counting, grantable, scopes_of
from app.accounts.service import Accounts
from app.accounts.tokens import Claims, TokenRefusedError

FRESH = timedelta(minutes=10)
"""After so long a sign-in is too old for what a stolen session must not do."""

_STANDING = """
    SELECT scopes, roles, methods FROM clients
    LEFT JOIN (sessions JOIN users ON users.id = user_id AND users.status = 'active')
        ON sessions.id = $2 AND client = name AND ended_at IS NULL AND sessions.expires_at > now()
    WHERE name = $1 AND clients.status = 'active' AND CASE WHEN $2::uuid IS NOT NULL THEN sessions.id IS NOT NULL ELSE
        EXISTS (SELECT FROM client_credentials AS credential WHERE credential.id = $3 AND client = name
            AND revoked_at IS NULL AND (credential.expires_at IS NULL OR credential.expires_at > now())) END
"""


class Caller(Struct, frozen=True):
    """Who calls, and what they may do. `name` is who acts, in logs and audit: `client:<name>` or `user:<id>`.

    Behind a user stands a session, behind a client that calls for itself a credential of it.
    """

    name: str
    client: str
    scopes: frozenset[Scope]
    user: UUID | None = None
    session: UUID | None = None
    roles: frozenset[Role] = frozenset()
    auth_time: int = 0
    credential: UUID | None = None

    @property
    def may_grant(self) -> frozenset[Role]:
        """The roles that the caller may give and take."""
        return grantable(self.scopes)

    def is_fresh(self, moment: datetime) -> bool:
        """Whether they have signed in a short while ago, and so are likely to be who they were then."""
        return moment.timestamp() - self.auth_time <= FRESH.total_seconds()


async def admit(accounts: Accounts, token: str) -> Caller:
    """Who calls with this access token; raises TokenRefusedError."""
    caller = await standing(accounts, caller_of(await accounts.tokens.read(token)))
    if caller is None:
        raise TokenRefusedError("the access token is refused: what it was issued for is no more")
    return caller


def caller_of(claims: Claims) -> Caller:
    """Who calls with a token that says this, and what it says that they may."""
    said = claims.scope.split()
    return Caller(
        name=f"user:{claims.user}" if claims.user else f"client:{claims.client_id}",
        client=claims.client_id,
        scopes=frozenset(each for each in Scope if each in said),
        user=claims.user,
        session=claims.sid,
        roles=frozenset(claims.roles),
        auth_time=claims.auth_time or 0,
        credential=claims.credential,
    )


async def standing(accounts: Accounts, caller: Caller) -> Caller | None:
    """The caller with what is left now of what they may do; None where what they call by is no more."""
    row = await accounts.stores.core.fetchrow(_STANDING, caller.client, caller.session, caller.credential)
    if row is None:
        return None
    allowed = [Scope(each) for each in row["scopes"]]
    if caller.session is None:
        return structs.replace(caller, scopes=caller.scopes.intersection(allowed))
    roles = counting(row["roles"], row["methods"], strict=accounts.strict)
    scopes = caller.scopes.intersection(scopes_of(roles, allowed))
    return structs.replace(caller, scopes=scopes, roles=caller.roles.intersection(roles))


async def recognise(accounts: Accounts, token: str, client: str) -> Caller | None:
    """Who stays signed in through a client by a refresh token, with what their roles give them now; None where nobody does."""
    held = await sessions.stay(accounts, token, client)
    if held is None:
        return None
    return Caller(
        name=f"user:{held.user}",
        client=client,
        scopes=frozenset(held.scopes),
        user=held.user,
        session=held.session,
        roles=frozenset(held.roles),
        auth_time=int(held.at.timestamp()),
    )
