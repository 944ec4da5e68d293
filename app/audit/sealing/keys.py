"""The Ed25519 keys of seals (RFC 8032), by their ids."""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from config.settings import Settings


def key_id(public: Ed25519PublicKey) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the 32 bytes of a public key."""
    return sha256(public.public_bytes_raw()).hexdigest()[:16]


def public_key_of(signing_key: str) -> str:
    """The public key, in base64, of a signing key in base64."""
    return b64encode(_private(signing_key).public_key().public_bytes_raw()).decode()


def _private(signing_key: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(b64decode(signing_key))


def trusted_by(settings: Settings) -> tuple[str, ...]:
    """The public keys, in base64, whose seals are trusted: that of the signing key among them, where one is set."""
    signing = settings.audit_signing_key
    own = (public_key_of(signing.get_secret_value()),) if signing else ()
    return (*own, *settings.public_keys)


@dataclass(frozen=True)
class PublicKeys:
    """Every key whose seals are trusted, by id."""

    trusted: dict[str, Ed25519PublicKey]

    @classmethod
    def of_texts(cls, keys: Iterable[str]) -> "PublicKeys":
        """The keys that are written so, in base64."""
        public = (Ed25519PublicKey.from_public_bytes(b64decode(each)) for each in keys)
        return PublicKeys({key_id(each): each for each in public})

    @property
    def texts(self) -> tuple[str, ...]:
        """The keys in base64."""
        return tuple(b64encode(each.public_bytes_raw()).decode() for each in self.trusted.values())

    def trusts(self, key: str, signature: bytes, signed: bytes) -> bool:
        """Whether the signature is that of the trusted key with this id."""
        public = self.trusted.get(key)
        try:
            if public is not None:
                public.verify(signature, signed)
        except InvalidSignature:
            return False
        return public is not None


@dataclass(frozen=True)
class Keyring(PublicKeys):
    """The key that signs, and every key whose seals are trusted, by id."""

    signing: Ed25519PrivateKey

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The keys of the settings; None where no signing key is set."""
        if settings.audit_signing_key is None:
            return None
        signing = _private(settings.audit_signing_key.get_secret_value())
        return cls(cls.of_texts(trusted_by(settings)).trusted, signing)

    def signed(self, told: str) -> str:
        """A text that ends with a line feed, with the line of its signature behind it."""
        return f"{told}signature {b64encode(self.signing.sign(told.encode())).decode()}\n"

    @property
    def id(self) -> str:
        """The id of the key that signs."""
        return key_id(self.signing.public_key())
