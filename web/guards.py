"""Who may call: until accounts exist, whoever holds the operator key."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, ServiceUnavailableException
from litestar.handlers import BaseRouteHandler

from config.correlation import act_as

OPERATOR = "operator"  # who acts, in the history of what was done with the key
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="astrobookings-core"'}


async def needs_operator_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let the call pass if it bears the operator key.

    Raises 401 for a missing or wrong key, and 503 while the system has none: without a key nobody gets in.
    """
    expected: bytes | None = connection.app.state.operator_key
    if not expected:
        raise ServiceUnavailableException(
            "this system has no operator key; set ASTROCORE_OPERATOR_KEY and restart it"
        )
    if not hmac.compare_digest(_bearer_token(connection), expected):
        raise NotAuthorizedException(
            "this call needs the operator key, as `Authorization: Bearer <key>`", headers=CHALLENGE
        )
    act_as(OPERATOR)


def _bearer_token(connection: ASGIConnection[Any, Any, Any, Any]) -> bytes:
    """The token as it was sent; empty where there is none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    # Headers are decoded as latin-1, which loses nothing; the key may be of any alphabet.
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
