"""Secrets that are handed out once and kept as a hash: client secrets, refresh tokens, links in mails.

They are long and random, so one pass of SHA-256 is enough: there is nothing to guess.
"""

import secrets
from hashlib import sha256

BYTES = 32
SECRET_PREFIX = "acs"  # noqa: S105  (what the secret of a client begins with)


def new_secret(prefix: str) -> str:
    """256 random bits; the prefix tells people, and scanners of source code, what it is."""
    return f"{prefix}_{secrets.token_urlsafe(BYTES)}"


def hash_of(secret: str) -> bytes:
    """What is kept of it, and found by it."""
    return sha256(secret.encode(errors="surrogatepass")).digest()
