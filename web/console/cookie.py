"""The console's one cookie: a secret that no script can read.

After a sign-in it is what the session is found by; before it is in no table, and every sign-in gives another one, so that nobody
signs in under a secret that was planted. What forms bear is derived from it (OWASP, signed double-submit): only a page that was
made for this cookie has it.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie

from app.accounts.secrets import new_secret
from config.hosts import is_loopback
from config.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]
_PREFIX = "acv"
_SECRET = re.compile(r"[\w-]{43,100}", re.ASCII)
_PURPOSE = b"csrf"


def fresh_secret() -> str:
    """A secret for a visitor who has not signed in."""
    return new_secret(_PREFIX)


def secret_of(connection: Connection) -> str | None:
    """The secret that the browser sent; None where it is none of ours."""
    sent = connection.cookies.get(_name(is_relaxed(connection)), "")
    return sent if _SECRET.fullmatch(sent) else None


def cookie_of(connection: Connection, secret: str) -> Cookie:
    """The cookie until the browser ends.

    SameSite is Lax and not Strict: whoever follows a link from a mail to a page of the console stays signed in. A page that is only
    looked at changes nothing, and a form needs more than the cookie.
    """
    relaxed = is_relaxed(connection)
    return Cookie(_name(relaxed), value=secret, secure=not relaxed, httponly=True, samesite="lax")


def form_token(secret: str) -> str:
    """What a form of a page bears that was made for this secret."""
    return urlsafe_b64encode(hmac.digest(secret.encode(), _PURPOSE, sha256)).decode().rstrip("=")


def is_relaxed(connection: Connection) -> bool:
    """Whether the console is reached without TLS: that of an embedded system, and from its own machine alone."""
    chosen: Settings = connection.app.state.stores.settings
    return chosen.environment == "embedded" and is_loopback(chosen.web_host)


def _name(relaxed: bool) -> str:  # noqa: FBT001
    # Browsers take a cookie of this prefix over TLS only, for this host and for all of its paths (RFC 6265bis, section 4.1.3.2).
    return "astrocore" if relaxed else "__Host-astrocore"
