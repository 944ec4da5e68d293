"""Reads and judges the text of one seal."""

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.errors import Fault, InvalidInputError

# One spelling of everything, so that a seal cannot be written in two ways.
_NUMBER = rb"([1-9][0-9]{0,17})"
_SHAPE = re.compile(
    rb"(astrocore audit seal 1\nnumber " + _NUMBER + rb"\nfirst " + _NUMBER + rb"\nlast " + _NUMBER + rb"\n"
    rb"root ([0-9a-f]{64})\nprevious ([0-9a-f]{64})\n"
    rb"time ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z)\nkey ([0-9a-f]{16})\n)"
    rb"signature ([A-Za-z0-9+/]{86}==)\n"
)
_KEY_BYTES = 32

Keys = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True)
class SealRead:
    """What a seal says, and the very bytes that say it."""

    text: bytes
    signed: bytes
    number: int
    first: int
    last: int
    root: bytes
    previous: bytes
    time: str
    key: str
    signature: bytes

    @property
    def hash(self) -> bytes:
        """What the next seal has to name as its previous one."""
        return sha256(self.text).digest()

    @property
    def count(self) -> int:
        """How many entries it covers."""
        return self.last - self.first + 1

    def signature_fault(self, keys: Keys) -> str | None:
        """What is wrong with its signature, judged by these keys alone."""
        return fault_of_signature(keys, self.key, self.signature, self.signed)


def fault_of_signature(keys: Keys, key: str, signature: bytes, signed: bytes) -> str | None:
    """What is wrong with the signature of the key with this id, judged by these keys alone."""
    public = keys.get(key)
    if public is None:
        return f"it is signed with key {key}, which is none of those given ({', '.join(keys)})"
    try:
        public.verify(signature, signed)
    except InvalidSignature:
        return f"its signature is not that of key {key}"
    return None


def is_younger(time: str, seconds: float, instant: datetime) -> bool:
    """Whether what was signed with this time is that new at an instant, and not of a later day."""
    try:
        age = (instant - datetime.fromisoformat(time)).total_seconds()
    except ValueError:  # whoever has the key may have signed 31 February
        return False
    return abs(age) < seconds


def read_seal(text: bytes) -> SealRead | None:
    """The seal that is spelled so; None where none is."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    signed, number, first, last, root, previous, time, key, signature = found.groups()
    seal = SealRead(
        text=text,
        signed=signed,
        number=int(number),
        first=int(first),
        last=int(last),
        root=bytes.fromhex(root.decode()),
        previous=bytes.fromhex(previous.decode()),
        time=time.decode(),
        key=key.decode(),
        signature=b64decode(signature),
    )
    return seal if seal.first <= seal.last else None


def read_keys(given: Iterable[str]) -> dict[str, Ed25519PublicKey]:
    """Public keys by id; each is given in base64, or as a file with one such key a line.

    Raises InvalidInputError where one is no key, or there is none.
    """
    keys: dict[str, Ed25519PublicKey] = {}
    for each in given:
        for line in _lines(each):
            raw = _raw(line)
            if raw is None:
                raise InvalidInputError(
                    "a public key cannot be used",
                    [Fault(each, "neither a file of keys nor 32 bytes in base64")],
                )
            keys[sha256(raw).hexdigest()[:16]] = Ed25519PublicKey.from_public_bytes(raw)
    if not keys:
        raise InvalidInputError("no public key is given, and without one no seal can be judged")
    return keys


def _lines(given: str) -> list[str]:
    if _raw(given) is not None:
        return [given]
    try:
        return Path(given).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return [given]


def _raw(line: str) -> bytes | None:
    try:
        raw = b64decode(line, validate=True)
    except ValueError:
        return None
    return raw if len(raw) == _KEY_BYTES else None
