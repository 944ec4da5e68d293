"""Encryption of the secrets that the core DB keeps and the service must have in clear: keys of second factors and of tokens.

AES-256-GCM (NIST SP 800-38D) with a key from outside of the database. A locked text is `<id of the key>:<base64 of nonce
and ciphertext>`, and opens only at the place that it was locked for: nobody exchanges two of them.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config.settings import Settings

_NONCE_BYTES = 12


@dataclass(frozen=True)
class Safe:
    """Keys of 32 bytes by id; `current` locks, all of them open. Drop a key when nothing is locked with it any more."""

    keys: Mapping[str, bytes]
    current: str

    def lock(self, secret: bytes, *, place: str) -> str:
        """The secret, for a place such as `users/<id>/totp`."""
        nonce = os.urandom(_NONCE_BYTES)
        locked = nonce + AESGCM(self.keys[self.current]).encrypt(nonce, secret, place.encode())
        return f"{self.current}:{b64encode(locked).decode()}"

    def open(self, locked: str, *, place: str) -> bytes:
        """What was locked for this place. Raises ValueError where it was not, or its key is not known any more."""
        key, _, text = locked.partition(":")
        if key not in self.keys:
            raise ValueError(f"a secret is locked with key {key}, which is not set any more")
        content = b64decode(text, validate=True)
        nonce, ciphertext = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
        try:
            return AESGCM(self.keys[key]).decrypt(nonce, ciphertext, place.encode())
        except InvalidTag:
            raise ValueError(f"what is locked at {place} was not locked for it") from None

    def is_current(self, locked: str) -> bool:
        """Whether a secret is locked with the key that locks now; else it is locked anew when it is used."""
        return locked.partition(":")[0] == self.current


def safe_of(chosen: Settings) -> Safe:
    """As the settings want it. Raises SettingsError where no key is set."""
    return Safe(chosen.keys("encryption_keys"), chosen.current_key("encryption_keys"))
