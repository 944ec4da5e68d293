"""Hashes of passwords: Argon2id (RFC 9106) over a keyed hash of the password.

The key of that inner hash, the pepper, lies outside the database: whoever has only the database cannot even try passwords
(NIST SP 800-63B-4, section 3.1.1.2). A stored hash is `<id of the pepper>:<PHC string>`.
"""

import asyncio
import hmac
import os
import threading
import unicodedata
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import BusyError

Given = TypeVarTuple("Given")
Result = TypeVar("Result")

KIBIBYTES_PER_MEGABYTE = 1024
_PSEUDONYMS = b"astrocore pseudonyms of addresses"
NICENESS = 10
"""Below everything else that the process does: answers to health checks come first."""


class Cost(NamedTuple):
    """What one hash costs: memory in KiB, passes over it, lanes."""

    memory: int
    passes: int
    lanes: int


RECOMMENDED = Cost(memory=64 * 1024, passes=3, lanes=4)
"""The second choice of RFC 9106, section 4."""

FLOOR = Cost(memory=19 * 1024, passes=2, lanes=1)
"""The least that OWASP's Password Storage Cheat Sheet allows for Argon2id."""


class Verdict(NamedTuple):
    """Whether a password is the right one, and whether its stored hash should be made anew."""

    right: bool
    stale: bool = False


@dataclass(frozen=True)
class Peppers:
    """The keys of the inner hash, 32 bytes each, by id; `current` is the one for new hashes."""

    keys: Mapping[str, bytes]
    current: str

    def apply(self, password: str, pepper: str) -> str | None:
        """What Argon2 is given for a password; None where the pepper is not known any more."""
        key = self.keys.get(pepper)
        if key is None:
            return None
        return b64encode(hmac.digest(key, normal(password).encode(errors="surrogatepass"), sha256)).decode()

    def pseudonym(self, name: str) -> bytes:
        """What stands for an address where it must not stand itself. Who lacks the key cannot even try addresses.

        The key is derived from the current pepper (SP 800-108, section 4.1, one block): another pepper, other pseudonyms.
        """
        key = hmac.digest(self.keys[self.current], _PSEUDONYMS, sha256)
        return hmac.digest(key, name.encode(errors="surrogatepass"), sha256)


def normal(password: str) -> str:
    """The one spelling of a password that is hashed: NFC (RFC 8265 has the same rule for passwords)."""
    return unicodedata.normalize("NFC", password)


class Hasher:
    """Makes and checks hashes; each call takes `cost.memory` and some tens of milliseconds of a core."""

    def __init__(self, cost: Cost, peppers: Peppers) -> None:
        self.cost = cost
        self.peppers = peppers
        self._argon2 = PasswordHasher(cost.passes, cost.memory, cost.lanes)
        self._nobodys = self.hash(os.urandom(16).hex())

    def hash(self, password: str) -> str:
        """The hash as it is stored."""
        given = self.peppers.apply(password, self.peppers.current)
        if given is None:
            raise ValueError(f"there is no pepper {self.peppers.current}")
        return f"{self.peppers.current}:{self._argon2.hash(given)}"

    def verify(self, password: str, stored: str | None) -> Verdict:
        """Hold a password to a stored hash. Without one as much work is done, and the password is wrong."""
        pepper, _, phc = (stored or self._nobodys).partition(":")
        given = self.peppers.apply(password, pepper)
        if given is None:  # nobody can verify it any more; take as long all the same
            return self.verify(password, None)
        try:
            self._argon2.verify(phc, given)
        except (VerificationError, InvalidHashError):
            return Verdict(right=False)
        stale = pepper != self.peppers.current or self._argon2.check_needs_rehash(phc)
        return Verdict(right=stored is not None, stale=stale)


def places(cost: Cost, megabytes: int) -> int:
    """How many hashes there are at once: as many as fit into the memory, and no more than there are cores."""
    fitting = megabytes * KIBIBYTES_PER_MEGABYTE // cost.memory
    return max(1, min(fitting, os.cpu_count() or 1))


class HashingRoom:
    """Hashes beside the event loop, as many at once as memory and cores allow.

    A call that has found no room after `patience` seconds raises BusyError: nobody waits long, and memory stays bounded.
    What is left of a second is for the way to the room and back, which takes its time while everybody comes at once.
    """

    def __init__(self, hasher: Hasher, *, megabytes: int, patience: float = 0.7) -> None:
        self.places = places(hasher.cost, megabytes)
        self._hasher = hasher
        self._patience = patience
        self._free = asyncio.Semaphore(self.places)
        self._threads = ThreadPoolExecutor(self.places, "hashing", initializer=_step_back)

    async def hash(self, password: str) -> str:
        """The hash as it is stored. Raises BusyError."""
        return await self.work(self._hasher.hash, password)

    async def verify(self, password: str, stored: str | None, *, since: float | None = None) -> Verdict:
        """Hold a password to a stored hash, see `Hasher.verify`. Raises BusyError.

        `since` is when the caller began to wait, by the clock of the event loop, if not now.
        """
        return await self.work(self._hasher.verify, password, stored, since=since)

    def pseudonym(self, name: str) -> bytes:
        """See `Peppers.pseudonym`."""
        return self._hasher.peppers.pseudonym(name)

    async def work(
        self, function: Callable[[*Given], Result], *given: *Given, since: float | None = None
    ) -> Result:
        """What a function answers that takes a core for a while. Raises BusyError; `since` as in `verify`."""
        async with self._place(since):
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *given)

    def close(self) -> None:
        """Let no more in; what is under way ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def _place(self, since: float | None = None) -> AsyncIterator[None]:
        began = asyncio.get_running_loop().time() if since is None else since
        try:
            async with asyncio.timeout_at(began + self._patience):
                await self._free.acquire()
        except TimeoutError as error:
            raise BusyError("too many passwords are being checked at once", retry_after=2) from error
        try:
            yield
        finally:
            self._free.release()


def _step_back() -> None:
    # On Linux a thread has a niceness of its own, and so have the lanes that it starts.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
