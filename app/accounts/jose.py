"""Reading what somebody else may have made: JSON Web Tokens and keys (RFC 7519, 7517, 8725)."""

from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError

# Beside its own errors joserfc lets pass whatever a header or a key of another shape than it expects makes of its code.
UNREADABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)

LEEWAY = timedelta(seconds=30)
"""How far the clock of whoever has issued a token may be ahead of ours. What has expired by our clock has expired."""


def check_claims(claims: dict[str, Any], moment: datetime, **wanted: Any) -> None:
    """Hold the claims to the time and to what is wanted of them, as joserfc's registry takes it. Raises one of UNREADABLE."""
    present, leeway = int(moment.timestamp()), int(LEEWAY.total_seconds())
    jwt.JWTClaimsRegistry(present, leeway, exp={"essential": True}, **wanted).validate(claims)
    if claims["exp"] <= present:
        raise ExpiredTokenError("exp")
