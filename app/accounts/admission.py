"""Who calls: what an access token says, held to what is true at this moment.

A token says what was true when it was issued. Whether its session goes on, its user may be signed in and its client is let in is asked
of the core DB with every call, so that whoever is signed out is out at once.
"""

from uuid import UUID

from msgspec import Struct

from app.accounts.permissions import Role, Scope, grantable
from app.accounts.service import Accounts
from app.accounts.tokens import Claims, TokenRefusedError

_GOES_ON = """
    SELECT EXISTS (SELECT 1 FROM clients WHERE name = $1 AND status = 'active') AND ($2::uuid IS NULL OR EXISTS (
        SELECT 1 FROM sessions JOIN users ON users.id = user_id
        WHERE sessions.id = $2 AND client = $1 AND ended_at IS NULL AND expires_at > now() AND status = 'active'))
"""


class Caller(Struct, frozen=True):
    """Who calls, and what they may do. `name` is who acts, in logs and audit: `client:<name>` or `user:<id>`."""

    name: str
    client: str
    scopes: frozenset[Scope]
    user: UUID | None = None
    session: UUID | None = None
    roles: frozenset[Role] = frozenset()
    auth_time: int = 0

    @property
    def may_grant(self) -> frozenset[Role]:
        """The roles that the caller may give and take."""
        return grantable(self.roles, self.scopes)


async def admit(accounts: Accounts, token: str) -> Caller:
    """Who calls with this access token; raises TokenRefusedError."""
    claims = await accounts.tokens.read(token)
    if not await goes_on(accounts, claims):
        raise TokenRefusedError("the access token is refused: its session or its client is no more")
    scopes = frozenset(Scope(each) for each in claims.scopes)
    if claims.session is None:
        return Caller(f"client:{claims.client_id}", claims.client_id, scopes)
    return Caller(
        name=f"user:{claims.sub}",
        client=claims.client_id,
        scopes=scopes,
        user=UUID(claims.sub),
        session=claims.session,
        roles=frozenset(claims.roles),
        auth_time=claims.auth_time or 0,
    )


async def goes_on(accounts: Accounts, claims: Claims) -> bool:
    """Whether what a token was issued for is still so: its client is let in, its session has not ended."""
    found: bool = await accounts.stores.core.fetchval(_GOES_ON, claims.client_id, claims.session)
    return found
