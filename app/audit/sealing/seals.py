"""A seal: nine lines of text, the last of them a signature of those before it. `docs/audit.md` defines them."""

from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Self

from app.audit.sealing.keys import Keyring

TITLE = "astrocore audit seal 1"
FIRST_PREVIOUS = bytes(32)
"""What the first of a chain names as the hash of the one before it."""


@dataclass(frozen=True)
class Seal:
    """What a seal says: entries `first` to `last` have this Merkle root, and follow the seal with this hash."""

    number: int
    first: int
    last: int
    root: bytes
    previous: bytes
    time: datetime
    key: str

    def signed_by(self, keys: Keyring) -> str:
        """The seal's text, as both stores keep it."""
        return keys.signed(self._told())

    def _told(self) -> str:
        time = self.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return (
            f"{TITLE}\nnumber {self.number}\nfirst {self.first}\nlast {self.last}\nroot {self.root.hex()}\n"
            f"previous {self.previous.hex()}\ntime {time}\nkey {self.key}\n"
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """The seal of a text. Raises ValueError where it is none; the signature is not looked at."""
        title, *lines = text.splitlines()
        told = dict(line.split(" ", 1) for line in lines)
        try:
            seal = cls(
                number=int(told["number"]),
                first=int(told["first"]),
                last=int(told["last"]),
                root=bytes.fromhex(told["root"]),
                previous=bytes.fromhex(told["previous"]),
                time=datetime.fromisoformat(told["time"]),
                key=told["key"],
            )
        except KeyError as error:
            raise ValueError(f"it has no {error}") from error
        if title != TITLE or f"{seal._told()}signature {told.get('signature')}\n" != text:
            raise ValueError("it is not spelled as a seal is")
        return seal


def hash_of(text: str) -> bytes:
    """The hash by which the next one of its chain names a seal or a tombstone: over all of its text."""
    return sha256(text.encode()).digest()


def is_trusted(text: str, keys: Keyring) -> bool:
    """Whether the text of a seal bears the signature of the key that it names, and that key is trusted."""
    told, _, signature = text.rpartition("signature ")
    return keys.trusts(Seal.read(text).key, b64decode(signature), told.encode())
