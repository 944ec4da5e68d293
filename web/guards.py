"""Who may call what. Every route says what it needs; one that says nothing is open to nobody."""

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.enums import HttpMethod
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation
from loguru import logger

from app.accounts.admission import FRESH, Caller
from app.accounts.permissions import Scope
from app.accounts.tokens import TokenRefusedError
from app.clock import now
from config.correlation import act_as

REALM = 'Bearer realm="astrobookings-core"'
SELF = "self"
"""What a route needs that a user calls about themselves."""

Calling = NamedDependency[SkipValidation[Caller]]


def needs(scope: Scope) -> dict[str, Any]:
    """The options of a route that needs this scope."""
    return {"needs": scope}


def needs_user() -> dict[str, Any]:
    """The options of a route that users call about themselves: a session is enough."""
    return {"needs": SELF}


async def needs_permission(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let the call pass if its access token says that it may.

    Raises 401 without a token that is good, 403 where it is not good for this (RFC 6750, section 3.1).
    """
    caller = await _caller(connection)
    act_as(caller.name)
    needed = handler.opt.get("needs")
    # OPTIONS tells the methods that there are, and no more.
    if connection.scope.get("method") != HttpMethod.OPTIONS and not allows(caller, needed):
        told = f'{REALM}, error="insufficient_scope"' + (
            f', scope="{needed}"' if isinstance(needed, Scope) else ""
        )
        what = (
            f"this call needs the scope {needed}"
            if isinstance(needed, Scope)
            else "this call is for users themselves"
        )
        raise PermissionDeniedException(what, headers={"WWW-Authenticate": told})


def allows(caller: Caller, needed: Any) -> bool:
    """Whether a caller may do what needs this, see `needs` and `needs_user`. What needs nothing is allowed to nobody."""
    if needed == SELF:
        return caller.user is not None
    return isinstance(needed, Scope) and needed in caller.scopes


def check_fresh(caller: Caller) -> None:
    """Refuse what a stolen session must not do to a user whose sign-in is not of this very moment (RFC 9470). Raises 403."""
    if caller.user is None or caller.is_fresh(now()):
        return
    told = f'{REALM}, error="insufficient_user_authentication", max_age="{FRESH.seconds}"'
    raise PermissionDeniedException(
        f"sign in again first: this asks for a sign-in within the last {FRESH.seconds // 60} minutes",
        headers={"WWW-Authenticate": told},
    )


def calling(request: Request[Any, Any, Any]) -> Caller:
    """Who calls, once the guard has let them in."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


async def _caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    token = _bearer_token(connection)
    if not token:
        raise NotAuthorizedException(
            "this call needs an access token, as `Authorization: Bearer <token>`",
            headers={"WWW-Authenticate": REALM},
        )
    try:
        caller: Caller = await connection.app.state.admit(token)
    except TokenRefusedError as error:
        logger.bind(reason=str(error)).info("token.refused")
        raise NotAuthorizedException(
            "the access token has expired, or is none of this service",
            headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'},
        ) from error
    connection.scope["state"]["caller"] = caller
    return caller


def _bearer_token(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
