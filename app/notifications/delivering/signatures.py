"""The signature of a provider's callback: who sent it, and that it is neither changed nor old.

The header is ``t=SECONDS,v1=HEX``: the time of signing in seconds since 1970, and the HMAC-SHA-256 (RFC 2104), under a secret
that both sides know, of the time's digits, a dot and the body's bytes. A sender that is about to change its secret may put in
a ``v1`` for each; so may we know two.
"""

import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from app.errors import CoreError

HEADER = "Astrocore-Signature"
WINDOW = timedelta(minutes=5)
MOST_SIGNATURES = 4

_PART = re.compile(r"\s*([a-z0-9]{1,10})=([0-9a-zA-Z]{1,128})\s*")
_SECONDS = re.compile(r"[0-9]{1,12}")


class BadSignatureError(CoreError):
    """What claims to be the provider's is not signed as its callbacks are. The message tells what is wrong, and no secret."""


def sign(body: bytes, secrets: Sequence[str], at: datetime) -> str:
    """The header's value for a body that is sent at that time, with a signature under each secret."""
    seconds = str(int(at.timestamp()))
    return ",".join([f"t={seconds}", *(f"v1={_signature(seconds, body, each)}" for each in secrets)])


def check_signature(header: str | None, body: bytes, secrets: Sequence[str], now: datetime) -> None:
    """Raises BadSignatureError unless a signature of the body is good under one of the secrets, and at most 5 minutes off."""
    if not header:
        raise BadSignatureError(f"the header {HEADER} is missing")
    seconds, signatures = _read(header)
    if abs(int(now.timestamp()) - int(seconds)) > WINDOW.total_seconds():
        raise BadSignatureError(f"{HEADER} is not of the last five minutes")
    if not _any_good(signatures, [_signature(seconds, body, each) for each in secrets]):
        raise BadSignatureError(f"no signature in {HEADER} is good for this body")


def _read(header: str) -> tuple[str, list[str]]:
    parts = [_PART.fullmatch(each) for each in header.split(",", maxsplit=MOST_SIGNATURES + 1)]
    pairs = [(part[1], part[2]) for part in parts if part]
    times = [value for name, value in pairs if name == "t"]
    signatures = [value.lower() for name, value in pairs if name == "v1"]
    if len(pairs) < len(parts) or len(times) != 1 or not _SECONDS.fullmatch(times[0]) or not signatures:
        raise BadSignatureError(f"{HEADER} is not of the form t=SECONDS,v1=HEX")
    return times[0], signatures


def _signature(seconds: str, body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), seconds.encode() + b"." + body, sha256).hexdigest()


def _any_good(told: Iterable[str], right: Sequence[str]) -> bool:
    return any(hmac.compare_digest(one, other) for one in told for other in right)
