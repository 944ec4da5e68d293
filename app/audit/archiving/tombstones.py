"""A tombstone: the signed text that says which seals have moved to which file. `docs/audit.md` defines it."""

import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from app.audit.sealing.keys import Keyring, PublicKeys

TITLE = "astrocore audit archive 1"

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Tombstone:
    """What it says: the entries `first` to `last`, sealed by `seals`, lie in `file`, whose SHA-256 is `digest`."""

    number: int
    first: int
    last: int
    seals: tuple[int, int]
    file: str
    digest: bytes
    previous: bytes
    time: datetime
    key: str

    def signed_by(self, keys: Keyring) -> str:
        """The tombstone's text, as both stores keep it."""
        return keys.signed(self._told())

    def _told(self) -> str:
        time = self.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return (
            f"{TITLE}\nnumber {self.number}\nfirst {self.first}\nlast {self.last}\n"
            f"seals {self.seals[0]} {self.seals[1]}\nfile {self.file}\nsha256 {self.digest.hex()}\n"
            f"previous {self.previous.hex()}\ntime {time}\nkey {self.key}\n"
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """The tombstone of a text. Raises ValueError where it is none; the signature is not looked at."""
        title, *lines = text.splitlines()
        told = dict(line.split(" ", 1) for line in lines)
        try:
            begin, end = told["seals"].split(" ")
            read = cls(
                number=int(told["number"]),
                first=int(told["first"]),
                last=int(told["last"]),
                seals=(int(begin), int(end)),
                file=told["file"],
                digest=bytes.fromhex(told["sha256"]),
                previous=bytes.fromhex(told["previous"]),
                time=datetime.fromisoformat(told["time"]),
                key=told["key"],
            )
        except KeyError as error:
            raise ValueError(f"it has no {error}") from error
        if title != TITLE or f"{read._told()}signature {told.get('signature')}\n" != text:
            raise ValueError("it is not spelled as a tombstone is")
        if not _FILE.fullmatch(read.file):
            raise ValueError("its file has a name that no archive has")
        return read


def is_trusted(text: str, keys: PublicKeys) -> bool:
    """Whether a text is a tombstone and bears the signature of the key that it names, and that key is trusted."""
    told, _, signature = text.rpartition("signature ")
    try:
        return keys.trusts(Tombstone.read(text).key, b64decode(signature), told.encode())
    except ValueError:
        return False
